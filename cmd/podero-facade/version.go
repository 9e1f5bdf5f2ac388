package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"example.com/podero-facade/server"
)

type versionCommand struct{}

// Run prints the versions.
func (versionCommand) Run(std streams) error {
	_, err := fmt.Fprintf(std.out, "podero-facade %s\n%s\nsource %s\n", server.Version(), runtime.Version(), source())
	return err
}

// source returns the commit that the program was built from, as far as the build knows it.
func source() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	settings := map[string]string{}
	for _, setting := range info.Settings {
		settings[setting.Key] = setting.Value
	}
	revision := settings["vcs.revision"]
	switch {
	case revision == "":
		return "unknown"
	case settings["vcs.modified"] == "true":
		return revision + " (modified)"
	default:
		return revision
	}
}
