package sharedcache

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/podero-facade/server/secret"
)

func TestURLs(t *testing.T) {
	for location, want := range map[string]string{
		"redis://127.0.0.1":                       "[127.0.0.1:6379] 0 false",
		"redis://127.0.0.1:":                      "[127.0.0.1:6379] 0 false",
		"redis://127.0.0.1/":                      "[127.0.0.1:6379] 0 false",
		"rediss://user:hunter2@redis.example:1/3": "[redis.example:1] 3 false",
		"redis://[::1]":                           "[[::1]:6379] 0 false",
		"redis://:hunter2@a?addr=b:1&addr=c":      "[a:6379 b:1 c:6379] 0 true",
		"redis://a?addr=[::1]:2":                  "[a:6379 [::1]:2] 0 true",
	} {
		options, err := parse(secret.New(location))
		if err != nil {
			t.Errorf("%s: %v", location, err)
			continue
		}
		if got := fmt.Sprint(options.Addrs, options.DB, options.IsClusterMode); got != want {
			t.Errorf("%s: %s, want %s", location, got, want)
		}
		if secure := strings.HasPrefix(location, "rediss:"); secure != (options.TLSConfig != nil) {
			t.Errorf("%s: TLS is %v, want %v", location, options.TLSConfig != nil, secure)
		}
	}
}

func TestURLsOfWhichAPartWouldBeIgnored(t *testing.T) {
	for location, want := range map[string]error{
		"":                                   errURL,
		"hunter2":                            errURL,
		"redis.example:6379":                 errURL,
		"redis:hunter2":                      errURL,
		"redis:///1":                         errURL,
		"redis://:6379":                      errURL,
		"redis://user:hunter2@":              errURL,
		"redis://user:hunter2@%":             errURL,
		"redis://user:hunter2@host name":     errURL,
		"redis://host:hunter2":               errURL,
		"redis://host:0":                     errURL,
		"redis://host:65536":                 errURL,
		"redis://host\n":                     errURL,
		"http://user:hunter2@a":              errURL,
		"REDIS+TLS://a":                      errURL,
		"redis://a#hunter2":                  errFragment,
		"redis://a#":                         errFragment,
		"redis://hunter2@a":                  errPassword,
		"redis://user:@a":                    errPassword,
		"redis://@a":                         errPassword,
		"redis://a/hunter2":                  errDatabase,
		"redis://a/-1":                       errDatabase,
		"redis://a/+1":                       errDatabase,
		"redis://a/01":                       errDatabase,
		"redis://a/1/2":                      errDatabase,
		"redis://a//1":                       errDatabase,
		"redis://a/1/":                       errDatabase,
		"redis://a/99999999999":              errDatabase,
		"rediss://a?skip_verify=true":        errParameter,
		"rediss://a?addr=b&password=hunter2": errParameter,
		"redis://a?hunter2":                  errParameter,
		"redis://a?addr=b;addr=c":            errParameter,
		"redis://a?addr=%zz":                 errParameter,
		"redis://a?addr=":                    errNode,
		"redis://a?addr=:hunter2@b":          errNode,
		"redis://a?addr=redis://b":           errNode,
		"redis://a?addr=b/1":                 errNode,
		"redis://a?addr=b:":                  nil,
		"redis://a/1?addr=b":                 errCluster,
	} {
		err := CheckURL(secret.New(location))
		if err != want { //nolint:errorlint // the very error, which quotes nothing
			t.Errorf("%q: error %v, want %v", location, err, want)
		}
	}
}

func TestCleartextHosts(t *testing.T) {
	for location, want := range map[string][]string{
		"redis://127.0.0.1:1":    {"127.0.0.1"},
		"redis://[::1]?addr=b:1": {"::1", "b"},
		"rediss://redis.example": nil,
		"redis://hunter2@b":      nil,
		"":                       nil,
	} {
		if got := CleartextHosts(secret.New(location)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", location, got, want)
		}
	}
}
