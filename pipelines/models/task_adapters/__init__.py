"""Task adapters: several adapters on artifacts/base, kept in data/adapters/, used by name and combined into one."""
