//go:build !linux

package engine

// hostListener knows nothing of other systems: Docker runs in a machine of its own there, and
// the engine itself says that a port is taken.
func hostListener(string, uint16) string { return "" }

// hostRoutes is unknown for the same reason.
func hostRoutes() map[string]string { return nil }

// hostFirstPort is what is usual.
func hostFirstPort(usual uint16) uint16 { return usual }
