//go:build !unix

package exchange

// tells is whether isQuiet can tell. Where it can't, all exchanges are left to net/http.
const tells = false

func (*conn) isQuiet() bool { return false }
