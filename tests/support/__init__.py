"""What tests of several rooms use; no tests."""
