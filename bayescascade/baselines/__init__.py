"""What others do, behind one interface, to be compared with on the same logs."""
