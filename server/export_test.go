package server

import "time"

// SetMaxConnectionAge changes how long a connection to Podero is used, for services that are started afterwards.
func SetMaxConnectionAge(age time.Duration) (restore func()) {
	before := maxUpstreamAge
	maxUpstreamAge = age
	return func() { maxUpstreamAge = before }
}
