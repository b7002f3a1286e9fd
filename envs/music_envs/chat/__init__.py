"""Conversations with a simulated user, as environments.

- `env`: `ChatEnv`, one conversation. `vector`: `ChatVectorEnv`, many that step at once. `async_env`: `AsyncChatEnv`,
  for asynchronous code.
- `world`: `ChatWorld`, the user and the reward that all of them use.
- `play`: `play_episodes`, many episodes of a policy.
- `episode`: `Episode`, the state of a conversation; `ChatSnapshot`, the state of an environment.
- `validation`: checks of arguments, actions and snapshots.
"""
