"""The sandbox's world: conversations about hobbies in which a program knows what is right.

`vocabulary` holds words and acts, `phrases` and `language` how they are written and read back, `state` what a reply has
to do. `oracle` grades replies; `players` are the user and the assistant, `contrasts` what a rejected side hears,
`fallback` talk about any other text. `seeds` and `defects` draw data.
"""
