package caller_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server/caller"
	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/requestid"
)

const (
	externalID = "134681893870"
	lookup     = "/podero.user.v1.UserService/GetUserByExternalId"
)

// asked is a lookup in an organization.
func asked(orgID string, includeDeleted bool) *userv1.GetUserByExternalIdRequest {
	return &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: externalID, IncludeDeleted: includeDeleted}
}

// intercept sends a request through a guard and returns the error and whether it came through.
func intercept(ctx context.Context, guard *caller.Guard, method string, request any, result error) (bool, error) {
	through := false
	response, err := guard.Intercept(ctx, request, &grpc.UnaryServerInfo{FullMethod: method},
		func(context.Context, any) (any, error) {
			through = true
			return "response", result
		})
	if (response == "response") != through {
		return through, errors.New("the handler's response is not the guard's")
	}
	return through, err
}

// certified is the context of a call with a request ID and a certificate of the given name.
func certified(t *testing.T, name string) context.Context {
	ctx := connected(t, trusted().client(nil, []string{name}), tls.VerifyClientCertIfGiven)
	return requestid.With(ctx, "the-request")
}

func TestAGuardLetsThroughWhoMayRead(t *testing.T) {
	policy := parsePolicy(t, strings.ReplaceAll(policyText, "spiffe://corp.example/billing", "billing"))
	mtls := &caller.Authenticator{Certificates: certificates()}
	strict := caller.GuardConfig{Authenticator: mtls, Policy: policy}
	for name, c := range map[string]struct {
		config  caller.GuardConfig
		caller  string // the name in its certificate; "" for none
		method  string
		request any
		want    string // the outcome
		cause   string
	}{
		"everything is open":           {caller.GuardConfig{}, "", lookup, asked(org, true), "OK", ""},
		"a caller and no policy":       {caller.GuardConfig{Authenticator: mtls}, "x", lookup, asked(org, true), "OK", ""},
		"nobody and no policy":         {caller.GuardConfig{Authenticator: mtls}, "", lookup, asked(org, false), "CALLER_UNAUTHENTICATED", "no credentials"},
		"nobody and a policy":          {strict, "", lookup, asked(org, false), "CALLER_UNAUTHENTICATED", "no credentials"},
		"a policy without credentials": {caller.GuardConfig{Policy: policy}, "billing", lookup, asked(org, false), "CALLER_FORBIDDEN", `caller "" read organization ` + org},
		"allowed":                      {strict, "billing", lookup, asked(org, false), "OK", ""},
		"upper case":                   {strict, "billing", lookup, asked(strings.ToUpper(org), false), "OK", ""},
		"another caller":               {strict, "x", lookup, asked(org, false), "CALLER_FORBIDDEN", `caller "certificate:x" read organization ` + org},
		"another caller in upper case": {strict, "x", lookup, asked(strings.ToUpper(org), false), "CALLER_FORBIDDEN", "organization " + org},
		"deleted users":                {strict, "billing", lookup, asked(org, true), "CALLER_FORBIDDEN", "read deleted users of organization " + org},
		"organization in braces":       {strict, "billing", lookup, asked("{"+org+"}", false), "CALLER_FORBIDDEN", "an organization without a well-formed ID"},
		"organization as URN":          {strict, "billing", lookup, asked("urn:uuid:"+org, false), "CALLER_FORBIDDEN", "an organization without a well-formed ID"},
		"organization is a person":     {strict, "billing", lookup, asked("Jane Doe", false), "CALLER_FORBIDDEN", "an organization without a well-formed ID"},
		"organization is a wildcard":   {strict, "billing", lookup, asked("*", false), "CALLER_FORBIDDEN", "an organization without a well-formed ID"},
		"no organization":              {strict, "billing", lookup, asked("", false), "CALLER_FORBIDDEN", "an organization without a well-formed ID"},
		"a method beyond the policy":   {strict, "billing", "/podero.user.v1.UserService/ListAll", struct{}{}, "CALLER_FORBIDDEN", "an organization without a well-formed ID"},
		"another podero service":       {strict, "", "/podero.v2.Other/Get", asked(org, false), "CALLER_UNAUTHENTICATED", ""},
		"health":                       {strict, "", "/grpc.health.v1.Health/Check", struct{}{}, "open", ""},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "audit.log")
			audit, err := caller.OpenAudit(file, nil, slog.New(slog.DiscardHandler))
			c.config.Audit = must(t, audit, err)
			ctx := requestid.With(t.Context(), "the-request")
			if c.caller != "" {
				ctx = certified(t, c.caller)
			}
			through, err := intercept(ctx, caller.NewGuard(c.config), c.method, c.request, nil)
			if good := c.want == "OK" || c.want == "open"; through != good || (err == nil) != good {
				t.Errorf("let through is %v, error %v", through, err)
			}
			if err != nil && (fault.From(err).Kind.Reason() != c.want || !strings.Contains(err.Error(), c.cause)) {
				t.Errorf("got %v, want %s because %s", err, c.want, c.cause)
			}
			if err := c.config.Audit.Close(); err != nil {
				t.Error(err)
			}
			checkAudit(t, file, c.want)
		})
	}
}

// checkAudit fails the test unless a file has one line that says how a lookup of the organization org ended,
// or none if the call was no lookup.
func checkAudit(t *testing.T, file, outcome string) {
	t.Helper()
	content, err := os.ReadFile(file)
	must(t, content, err)
	if outcome == "open" {
		if len(content) > 0 {
			t.Errorf("audited: %s", content)
		}
		return
	}
	var line map[string]any
	if err := json.Unmarshal(content, &line); err != nil || strings.Count(string(content), "\n") != 1 {
		t.Fatalf("not one line of JSON: %s", content)
	}
	if line["outcome"] != outcome || line["request_id"] != "the-request" || !strings.HasPrefix(fmt.Sprint(line["method"]), "/podero.") {
		t.Errorf("the line is %s", content)
	}
	if organization := line["organization"]; organization != org && organization != "" {
		t.Errorf("the line has the organization %q", organization)
	}
	if at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(line["time"])); err != nil || at.Location() != time.UTC || time.Since(at) > time.Minute {
		t.Errorf("the line is of %s", line["time"])
	}
	if len(line) != 9 || strings.Contains(string(content), externalID) || strings.Contains(string(content), "Jane") {
		t.Errorf("the line has too much in it: %s", content)
	}
}

func TestAnAllOrganizationsPolicyCoversNoRequestWithoutOne(t *testing.T) {
	policy := parsePolicy(t, `{callers: [{certificate: "*", organizations: ["*"]}]}`)
	guard := caller.NewGuard(caller.GuardConfig{Authenticator: &caller.Authenticator{Certificates: certificates()}, Policy: policy})
	if through, err := intercept(certified(t, "x"), guard, lookup, struct{}{}, nil); through || !fault.Is(err, fault.CallerForbidden) {
		t.Errorf("let through is %v, error %v", through, err)
	}
	// The rules of the request are for the handler to tell.
	if through, err := intercept(certified(t, "x"), guard, lookup, asked("", false), nil); !through || err != nil {
		t.Errorf("let through is %v, error %v", through, err)
	}
}

func TestTheAuditSaysHowALookupEnded(t *testing.T) {
	for name, c := range map[string]struct {
		result error
		want   string
	}{
		"found":     {nil, `"outcome":"OK"`},
		"not found": {fault.New(fault.UserNotFound, nil), `"outcome":"USER_NOT_FOUND"`},
		"cancelled": {context.Canceled, `"outcome":"CALLER_CANCELLED"`},
		"bug":       {errors.New("bug"), `"outcome":"INTERNAL"`},
	} {
		t.Run(name, func(t *testing.T) {
			var out logText
			audit, err := caller.OpenAudit("-", &out, slog.New(slog.DiscardHandler))
			must(t, audit, err)
			guard := caller.NewGuard(caller.GuardConfig{Authenticator: &caller.Authenticator{Certificates: certificates()}, Audit: audit})
			if _, err := intercept(certified(t, "a.example"), guard, lookup, asked(org, false), c.result); !errors.Is(err, c.result) {
				t.Errorf("got %v", err)
			}
			if err := audit.Close(); err != nil {
				t.Error(err)
			}
			for _, want := range []string{
				c.want, `"caller":"certificate:a.example"`, `"credential":"serial:`, `"organization":"` + org + `"`, `"include_deleted":false`, `"method":"` + lookup + `"`,
			} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%s is not in %s", want, out.String())
				}
			}
		})
	}
}

func TestALookupThatPanicsIsAuditedToo(t *testing.T) {
	var out logText
	audit, err := caller.OpenAudit("-", &out, slog.New(slog.DiscardHandler))
	guard := caller.NewGuard(caller.GuardConfig{Audit: must(t, audit, err)})
	defer func() {
		panicked := recover() != nil
		_ = audit.Close()
		if !panicked || !strings.Contains(out.String(), `"outcome":"INTERNAL"`) {
			t.Errorf("the audit has %q", out.String())
		}
	}()
	_, _ = guard.Intercept(t.Context(), asked(org, false), &grpc.UnaryServerInfo{FullMethod: lookup},
		func(context.Context, any) (any, error) { panic("a bug") })
}

func TestATokenWithALineBreakInItsSubjectIsOneLineOfAudit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out logText
		audit, err := caller.OpenAudit("-", &out, slog.New(slog.DiscardHandler))
		guard := caller.NewGuard(caller.GuardConfig{
			Authenticator: &caller.Authenticator{Tokens: run(t, tokenConfig(newSite(allKeys())))},
			Audit:         must(t, audit, err),
		})
		token := claiming(object{"sub": "x\n{\"outcome\":\"OK\"}"})()
		if _, err := intercept(authorized(t.Context(), "Bearer "+token), guard, lookup, asked(org, false), nil); err != nil {
			t.Error(err)
		}
		_ = audit.Close()
		if strings.Count(out.String(), "\n") != 1 || strings.Contains(out.String(), token) {
			t.Errorf("the audit has %q", out.String())
		}
	})
}

func TestAnAuditFileIsAppendedToByManyAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	for range 2 { // starts of the service
		audit, err := caller.OpenAudit(file, io.Discard, slog.New(slog.DiscardHandler))
		guard := caller.NewGuard(caller.GuardConfig{Audit: must(t, audit, err)})
		var calls sync.WaitGroup
		for range 20 {
			calls.Go(func() {
				for range 50 {
					if _, err := intercept(t.Context(), guard, lookup, asked(org, false), nil); err != nil {
						t.Error(err)
					}
				}
			})
		}
		calls.Wait()
		if err := audit.Close(); err != nil {
			t.Error(err)
		}
	}
	content, err := os.ReadFile(file)
	lines := strings.Split(strings.TrimSuffix(string(must(t, content, err)), "\n"), "\n")
	if len(lines) != 2*20*50 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	info, err := os.Stat(file)
	if mode := must(t, info, err).Mode(); mode != 0o600 {
		t.Errorf("its mode is %v", mode)
	}
}

// fullDisk is a stdout that takes nothing while it is full.
type fullDisk struct{ full bool }

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.full {
		return 0, errors.New("no space left on device")
	}
	return len(p), nil
}

func TestAnAuditThatCannotBeWrittenIsLoggedOnceAndStopsNoLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logText
		disk := &fullDisk{}
		audit, err := caller.OpenAudit("-", disk, l.logger())
		guard := caller.NewGuard(caller.GuardConfig{Audit: must(t, audit, err)})
		for i := range 30 {
			disk.full = i/10 == 1
			if through, err := intercept(t.Context(), guard, lookup, asked(org, false), nil); !through || err != nil {
				t.Errorf("let through is %v, error %v", through, err)
			}
			synctest.Wait()
		}
		_ = audit.Close()
		if lines := strings.Split(strings.TrimSpace(l.String()), "\n"); len(lines) != 2 ||
			!strings.Contains(lines[0], "no space left on device") || !strings.Contains(lines[1], "written again") {
			t.Errorf("the log has %q", lines)
		}
		if n := audit.Dropped(); n != 10 {
			t.Errorf("%d lines were counted as lost, want 10", n)
		}
	})
}

func TestAnAuditFileThatCannotBeOpenedIsAnError(t *testing.T) {
	if _, err := caller.OpenAudit(t.TempDir(), io.Discard, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a directory was opened")
	}
}

func TestWithoutAnAuditNothingIsRecorded(t *testing.T) {
	var audit *caller.Audit
	if err := audit.Close(); err != nil {
		t.Error(err)
	}
}
