package server

import "runtime/debug"

// Version returns the version of the service's module: that of a release, or (devel).
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// userAgent names the service to Podero.
func userAgent() string { return "podero-facade/" + Version() }
