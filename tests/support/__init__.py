"""What several test modules use: files, servers and projects made for tests."""
