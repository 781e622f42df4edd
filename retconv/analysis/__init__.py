"""What a mask does, measured: its spectrum, its locality, and the kernel that attention amounts to."""
