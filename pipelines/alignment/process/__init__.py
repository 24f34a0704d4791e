"""Process reward models: multi-step problems, labels of steps from rollouts, and a model that scores each step."""
