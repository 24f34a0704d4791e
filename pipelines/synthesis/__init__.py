"""From passages to questions and answers: a teacher, its prompts, and the filters that judge it."""
