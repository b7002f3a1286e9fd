"""`music doctor`: what is installed, what the machine has, what is missing and how to get it.

`packages` looks at distributions, `machine` at devices and folders, `endpoints` asks servers, and `check` is the record
that all of them return. Nothing here changes anything, and no key or token is ever shown.
"""
