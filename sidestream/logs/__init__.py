"""What is done with logs beside projecting: finding, following, replaying, verifying, writing anew, and the inbox."""
