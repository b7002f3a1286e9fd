"""The sandbox's world: conversations about hobbies in which a program knows what is right.

`vocabulary` holds words and acts, `phrases` and `language` write and read them, `state` knows what a reply must do.
`oracle` grades replies, `outcomes` whole conversations; `players` are the user and the assistant, `memory` draws what
only users with memory ask. `contrasts` and `memory_contrasts` are the instructions of a rejected side, `fallback`
replies about any other text. `seeds` and `defects` draw data.
"""
