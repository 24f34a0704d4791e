"""Synthesis of questions and answers from passages: teachers, prompt templates, and filters for their output."""
