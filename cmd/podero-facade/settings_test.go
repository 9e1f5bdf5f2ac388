package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestAllProblemsAreReportedAtOnce has values that can't be parsed, variables that no flag has, and a missing setting.
func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	configureSandbox(t)
	for name, value := range map[string]string{
		"CLIENT_SECRET": "", "UPSTREAM_TIMEOUT": "soon", "UPSTREAM_ATTEMPT_TIMEOUT": "", "LOG_LEVEL": "loud", "INSECURE": "perhaps",
		"CALLER_POLICY_FIEL": "/etc/policy.yaml", "CLIENT_IDS": "", "GRPC_PORT": "9090",
		// these are allowed
		"ORG_ID": "00000000-0000-0000-0000-000000000000", "SERVICE_HOST": "10.0.0.1", "SERVICE_PORT": "9090", "SERVICE_PORT_GRPC": "9090", "PORT": "tcp://10.0.0.1:9090",
		"PORT_9090_TCP": "tcp://10.0.0.1:9090", "PORT_9090_TCP_ADDR": "10.0.0.1", "ADMIN_SERVICE_HOST": "10.0.0.1", "ADMIN_PORT": "tcp://10.0.0.1:8081",
	} {
		t.Setenv("PODERO_FACADE_"+name, value)
	}
	want := []string{
		`--upstream-timeout (PODERO_FACADE_UPSTREAM_TIMEOUT): "soon" is not known; give a duration with its unit, like 500ms, 10s or 1m30s`,
		`--upstream-attempt-timeout (PODERO_FACADE_UPSTREAM_ATTEMPT_TIMEOUT): is empty; give a duration with its unit, like 500ms, 10s or 1m30s, or unset it`,
		`--upstream-max-attempts (PODERO_FACADE_UPSTREAM_MAX_ATTEMPTS): "x" is not known; give a whole number`,
		`--log-level (PODERO_FACADE_LOG_LEVEL): "loud" is not known; give debug, info, warn or error`,
		`--insecure (PODERO_FACADE_INSECURE): "perhaps" is not known; give true or false`,
		`PODERO_FACADE_CALLER_POLICY_FIEL: no flag has this variable; if you mean PODERO_FACADE_CALLER_POLICY_FILE, give that, else unset it`,
		`PODERO_FACADE_CLIENT_IDS: no flag has this variable; if you mean PODERO_FACADE_CLIENT_ID, give that, else unset it`,
		`PODERO_FACADE_GRPC_PORT: no flag has this variable; if you mean PODERO_FACADE_GRPC_LISTEN, give that, else unset it`,
		`--client-secret-file (PODERO_FACADE_CLIENT_SECRET_FILE): is missing; name the file with the client secret, or set PODERO_FACADE_CLIENT_SECRET`,
	}
	for command, c := range map[string]struct {
		status int
		prefix string
	}{"serve": {2, "podero-facade: "}, "check": {1, "✗ configuration: "}} {
		var out, errors output
		if status := run(t.Context(), []string{command, "--upstream-max-attempts=x"}, streams{&out, &errors}); status != c.status {
			t.Errorf("%s: exit status %d, want %d", command, status, c.status)
		}
		var got []string
		for line := range strings.Lines(out.String() + errors.String()) {
			if text, ok := strings.CutPrefix(strings.TrimSpace(line), c.prefix); ok && !strings.HasPrefix(text, "failed: ") {
				got = append(got, text)
			}
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s prints\n%s\nwant\n%s", command, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestWrongUsageAndWrongVariablesAreReportedTogether(t *testing.T) {
	t.Setenv("PODERO_FACADE_COLOUR", "red")
	var out, errors output
	if status := run(t.Context(), []string{"serve", "--colour"}, streams{&out, &errors}); status != 2 {
		t.Errorf("exit status %d, want 2", status)
	}
	if got := errors.String(); !regexp.MustCompile(`^podero-facade: unknown flag --colour.*\npodero-facade: PODERO_FACADE_COLOUR: .*\n$`).MatchString(got) {
		t.Errorf("%s", got)
	}
}

func TestVariablesOfOtherCommandsAreAllowed(t *testing.T) {
	parser, err := kong.New(&commands{}, kong.DefaultEnvars("PODERO_FACADE"))
	if err != nil {
		t.Fatal(err)
	}
	environ := []string{"PODERO_FACADE_ORG_ID=x", "PODERO_FACADE_LISTEN=", "PODERO_FACADE_CLIENT_SECRET=x", "PODERO_FACADES=x", "OTHER=PODERO_FACADE_X"}
	if found := unknownVariables(parser, environ); len(found) > 0 {
		t.Errorf("%v", found)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"FIEL", "FILE", 2}, {"same", "same", 0}} {
		if got := distance(c.from, c.to); got != c.want {
			t.Errorf("%s to %s: %d, want %d", c.from, c.to, got, c.want)
		}
	}
}
