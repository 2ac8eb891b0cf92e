package runner

// isForeignBinary returns false: macOS runs programs for other machines too.
func isForeignBinary([]byte) bool { return false }
