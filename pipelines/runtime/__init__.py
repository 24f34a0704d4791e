"""What changes no result: progress, errors, locks, tracking, pages. The code of stages is compared without it."""
