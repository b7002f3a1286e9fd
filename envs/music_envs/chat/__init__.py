"""Conversations with a simulated user, as environments.

- `env`: `ChatEnv`, one of them. `vector`: `ChatVectorEnv`, many that step at once. `async_env`: `AsyncChatEnv`, for
  asynchronous code.
- `world`: `ChatWorld`, the user and the reward that all of them share, and when it rewards.
- `play`: `play_episodes`, many episodes of a policy.
- `episode`: `Episode`, the state of a conversation; `ChatSnapshot`, that of an environment.
- `validation`: what environments accept and refuse.
"""
