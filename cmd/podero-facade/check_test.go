package main

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/podero-facade/server/check"
	"example.com/podero-facade/server/sandbox"
)

// configureSandbox puts the service's configuration for a new sandbox into the environment.
func configureSandbox(t *testing.T) {
	t.Helper()
	handler, err := sandbox.New(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	upstream := httptest.NewServer(handler)
	t.Cleanup(upstream.Close)
	t.Setenv("PODERO_FACADE_UPSTREAM_URL", upstream.URL+sandbox.APIPath)
	t.Setenv("PODERO_FACADE_TOKEN_URL", upstream.URL+sandbox.TokenPath)
	t.Setenv("PODERO_FACADE_CLIENT_ID", sandbox.ClientID)
	t.Setenv("PODERO_FACADE_CLIENT_SECRET", sandbox.ClientSecret)
}

func TestCheckPrintsEachStepAndFailsIfOneDoes(t *testing.T) {
	for name, c := range map[string]struct {
		args             string
		variable, value  string
		status           int
		passed, failed   int
		wantOut, wantErr string
	}{
		"all is well":        {"", "CLIENT_ID", sandbox.ClientID, 0, 5, 0, "✓ lookup: 403 with JSON", ""},
		"one's organization": {"--org-id " + strings.ToUpper(sandbox.OrgID), "CLIENT_ID", sandbox.ClientID, 0, 5, 0, sandbox.OrgID + " has no such user", ""},
		"a wrong secret":     {"", "CLIENT_SECRET", "hunter2", 1, 3, 1, "✗ token: TOKEN_REJECTED", "podero-facade: failed: 1 of 6 steps\n"},
		"no secret":          {"", "CLIENT_SECRET", "", 1, 2, 1, "✗ configuration: --client-secret-file", "podero-facade: failed: 1 of 6 steps\n"},
		"not an ID":          {"--org-id x", "CLIENT_ID", sandbox.ClientID, 2, 0, 0, "", "podero-facade: --org-id (PODERO_FACADE_ORG_ID): is not a UUID; give one like 016b78a7-0c7c-4241-a277-015c3ad3cb90\n"},
		"an unknown form":    {"--output xml", "CLIENT_ID", sandbox.ClientID, 2, 0, 0, "", "podero-facade: --output (PODERO_FACADE_OUTPUT) must be one of"},
	} {
		t.Run(name, func(t *testing.T) {
			configureSandbox(t)
			t.Setenv("PODERO_FACADE_"+c.variable, c.value)
			var out, errors output
			status := run(t.Context(), append([]string{"check"}, strings.Fields(c.args)...), streams{&out, &errors})
			text := out.String()
			if status != c.status || !strings.Contains(text, c.wantOut) || !strings.HasPrefix(errors.String(), c.wantErr) {
				t.Errorf("exit status %d, %s\n%s", status, errors.String(), text)
			}
			if passed, failed := strings.Count(text, "✓ "), strings.Count(text, "✗ "); passed != c.passed || failed != c.failed {
				t.Errorf("%d passed and %d failed, want %d and %d:\n%s", passed, failed, c.passed, c.failed, text)
			}
			if strings.Contains(text+errors.String(), "hunter2") {
				t.Errorf("%s\nhas the secret in it", text)
			}
		})
	}
}

func TestCheckPrintsJSON(t *testing.T) {
	for secret, want := range map[string]struct {
		status int
		steps  string // name and mark of each
	}{
		sandbox.ClientSecret: {0, "configuration true, upstream DNS true, upstream TCP true, upstream TLS null, token true, lookup true"},
		"hunter2":            {1, "configuration true, upstream DNS true, upstream TCP true, upstream TLS null, token false, lookup null"},
	} {
		configureSandbox(t)
		t.Setenv("PODERO_FACADE_CLIENT_SECRET", secret)
		var out, errors output
		if status := run(t.Context(), []string{"check", "--output", "json"}, streams{&out, &errors}); status != want.status {
			t.Errorf("exit status %d, want %d: %s", status, want.status, errors.String())
		}
		var steps []check.Step
		if err := json.Unmarshal([]byte(out.String()), &steps); err != nil {
			t.Fatalf("%v: %s", err, out.String())
		}
		var got []string
		for _, step := range steps {
			mark, err := json.Marshal(step.OK)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, step.Name+" "+string(mark))
			if step.Seen == "" || (step.Remedy != "") != (string(mark) == "false") {
				t.Errorf("%+v", step)
			}
		}
		if text := strings.Join(got, ", "); text != want.steps {
			t.Errorf("%s, want %s", text, want.steps)
		}
	}
}

// TestWhiteSpaceAroundCredentialsIsTrimmed has line ends as Kubernetes Secrets and editors leave them.
func TestWhiteSpaceAroundCredentialsIsTrimmed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("\t "+sandbox.ClientSecret+" \r\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		id, secret string // variables
		args       []string
	}{
		"variables": {sandbox.ClientID + "\n", "\r\n" + sandbox.ClientSecret + "\n", nil},
		"flags":     {"", "", []string{"--client-id", " " + sandbox.ClientID + "\n", "--client-secret-file", file}},
	} {
		t.Run(name, func(t *testing.T) {
			configureSandbox(t)
			t.Setenv("PODERO_FACADE_CLIENT_ID", c.id)
			t.Setenv("PODERO_FACADE_CLIENT_SECRET", c.secret)
			var out, errors output
			if status := run(t.Context(), append([]string{"check"}, c.args...), streams{&out, &errors}); status != 0 {
				t.Errorf("exit status %d: %s%s", status, out.String(), errors.String())
			}
		})
	}
}
