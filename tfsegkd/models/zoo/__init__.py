"""The networks, a file each, and the parts that several of them share."""
