package caller_test

import (
	"strings"
	"testing"

	"example.com/podero-facade/server/caller"
)

const (
	org      = "016b78a7-0c7c-4241-a277-015c3ad3cb90"
	otherOrg = "00000000-0000-0000-0000-000000000000"
)

const policyText = `
callers:
  - certificate: spiffe://corp.example/billing
    organizations: [016B78A7-0C7C-4241-A277-015C3AD3CB90]
  - subject: crm-sync
    organizations: ["*"]
  - subject: support
    organizations: [016b78a7-0c7c-4241-a277-015c3ad3cb90]
    include_deleted: true
  - certificate: "*"
    organizations: [00000000-0000-0000-0000-000000000000]
`

func TestAPolicyAllowsWhatItNamesAndNothingElse(t *testing.T) {
	certificate := func(name string) caller.Caller { return caller.Caller{Certificate: name} }
	token := func(name string) caller.Caller { return caller.Caller{Subject: name} }
	policy, err := caller.ParsePolicy([]byte(policyText))
	must(t, policy, err)
	for _, c := range []struct {
		caller  caller.Caller
		org     string
		deleted bool
		want    bool
	}{
		{certificate("spiffe://corp.example/billing"), org, false, true},
		{certificate("spiffe://corp.example/billing"), org, true, false},
		{certificate("spiffe://corp.example/billing"), otherOrg, false, true}, // any certificate may
		{certificate("spiffe://corp.example/billing/"), org, false, false},
		{certificate("SPIFFE://corp.example/billing"), org, false, false},
		{certificate("spiffe://corp.example"), org, false, false},
		{certificate("another"), otherOrg, false, true},
		{certificate("another"), otherOrg, true, false},
		{certificate("*"), org, false, false},
		{certificate("crm-sync"), org, false, false},
		{certificate("support"), org, true, false},
		{token("spiffe://corp.example/billing"), org, false, false},
		{token("crm-sync"), org, false, true},
		{token("crm-sync"), otherOrg, false, true},
		{token("crm-sync"), org, true, false},
		{token("CRM-sync"), org, false, false},
		{token("support"), org, true, true},
		{token("support"), org, false, true},
		{token("support"), otherOrg, false, false},
		{token("another"), otherOrg, false, false},
		{token("*"), otherOrg, false, false},
		{caller.Caller{}, otherOrg, false, false},
		{caller.Caller{}, org, false, false},
		{caller.Caller{Certificate: "another", Subject: "support"}, org, true, true},
		{caller.Caller{Certificate: "another", Subject: "support"}, otherOrg, false, true},
		{caller.Caller{Certificate: "another", Subject: "support"}, otherOrg, true, false}, // neither may
		{caller.Caller{Certificate: "support", Subject: "another"}, org, true, false},

		// Other spellings of the organization.
		{token("support"), strings.ToUpper(org), false, false}, // the caller of Allows lowers it
		{token("support"), "{" + org + "}", false, false},
		{token("support"), "urn:uuid:" + org, false, false},
		{token("support"), strings.ReplaceAll(org, "-", ""), false, false},
		{token("support"), org + " ", false, false},
		{token("support"), "*", false, false},
		{token("support"), "", false, false},
	} {
		if got := policy.Allows(c.caller, c.org, c.deleted); got != c.want {
			t.Errorf("Allows(%v, %q, %v) = %v", c.caller, c.org, c.deleted, got)
		}
	}
}

func TestAPolicyForAnySubjectIsNotForCertificates(t *testing.T) {
	policy, err := caller.ParsePolicy([]byte(`{callers: [{subject: "*", organizations: ["*"], include_deleted: true}]}`))
	must(t, policy, err)
	if !policy.Allows(caller.Caller{Subject: "x"}, org, true) || policy.Allows(caller.Caller{Certificate: "x"}, org, false) {
		t.Error("the wildcard is not that of subjects alone")
	}
}

func TestAPolicyWithoutEntriesDeniesEverything(t *testing.T) {
	for _, text := range []string{"callers: []", "callers:", "callers: null", "# nobody\ncallers:\n#  - subject: x\n"} {
		policy, err := caller.ParsePolicy([]byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if policy.Allows(caller.Caller{Subject: "x", Certificate: "y"}, org, false) {
			t.Errorf("%q allows something", text)
		}
	}
}

func TestAWrongPolicyIsRefusedAndItsErrorSaysWhere(t *testing.T) {
	const good = "{subject: a, organizations: ['*']}"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"empty":                      {"", []string{"no key callers"}},
		"comment":                    {"# callers: []", []string{"no key callers"}},
		"null":                       {"null", []string{"no key callers"}},
		"list":                       {"- subject: a", []string{"line 1"}},
		"text":                       {"callers", []string{"line 1"}},
		"no YAML":                    {"callers: [", []string{"line 1"}},
		"tab":                        {"callers:\n\t- subject: a", []string{"line 2"}},
		"binary":                     {"callers: []\x00", []string{"control characters"}},
		"callers is no list":         {"callers: {subject: a}", []string{"line 1"}},
		"entry is no mapping":        {"callers: [a]", []string{"line 1"}},
		"unknown key":                {"callers: []\ncaller: []", []string{"line 2", "caller"}},
		"unknown key of entry":       {"callers:\n- subject: a\n  organisations: ['*']", []string{"line 3", "organisations"}},
		"key twice":                  {"callers: []\ncallers: []", []string{"line 2", "callers"}},
		"key of entry twice":         {"callers:\n- subject: a\n  subject: b\n  organizations: ['*']", []string{"line 3", "subject"}},
		"two documents":              {"callers: []\n---\ncallers: []", []string{"more than one YAML document"}},
		"two documents, one no YAML": {"callers: []\n---\n[", []string{"more than one YAML document"}},
		"no name":                    {"callers: [{organizations: ['*']}]", []string{"callers[0]", "either a certificate or a subject"}},
		"empty name":                 {"callers: [{subject: '', organizations: ['*']}]", []string{"callers[0]", "either a certificate or a subject"}},
		"null entry":                 {"callers: [null]", []string{"callers[0]", "empty"}},
		"two names":                  {"callers: [{subject: a, certificate: b, organizations: ['*']}]", []string{"callers[0]", "either a certificate or a subject"}},
		"no organizations":           {"callers: [{subject: a}]", []string{"callers[0]", "no organizations"}},
		"empty organizations":        {"callers: [" + good + ", {subject: b, organizations: []}]", []string{"callers[1]", "no organizations"}},
		"organization no list":       {"callers: [{subject: a, organizations: '*'}]", []string{"line 1"}},
		"no UUID":                    {"callers: [{subject: a, organizations: [x]}]", []string{"callers[0]", `"x"`, "UUID"}},
		"UUID in braces":             {"callers: [{subject: a, organizations: ['{" + org + "}']}]", []string{"callers[0]", "UUID"}},
		"UUID as URN":                {"callers: [{subject: a, organizations: ['urn:uuid:" + org + "']}]", []string{"callers[0]", "UUID"}},
		"UUID without dashes":        {"callers: [{subject: a, organizations: [" + strings.ReplaceAll(org, "-", "a") + "]}]", []string{"callers[0]", "UUID"}},
		"UUID with a letter g":       {"callers: [{subject: a, organizations: [g" + org[1:] + "]}]", []string{"callers[0]", "UUID"}},
		"null organization":          {"callers: [{subject: a, organizations: [null]}]", []string{"callers[0]", "no organizations"}},
		"pattern":                    {"callers: [{subject: a, organizations: ['016b*']}]", []string{"callers[0]", "UUID"}},
		"subject twice":              {"callers: [" + good + ", " + good + "]", []string{"callers[1]", `"a"`, "already"}},
		"certificate twice":          {"callers: [{certificate: '*', organizations: ['*']}, {certificate: '*', organizations: ['*']}]", []string{"callers[1]", "already"}},
		"include_deleted is text":    {"callers: [{subject: a, organizations: ['*'], include_deleted: maybe}]", []string{"line 1", "maybe"}},
		"several entries":            {"callers: [{subject: a}, " + good + ", {subject: b}]", []string{"callers[0]", "callers[2]"}},
	} {
		t.Run(name, func(t *testing.T) {
			policy, err := caller.ParsePolicy([]byte(c.text))
			if err == nil || policy != nil {
				t.Fatalf("accepted, error %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

// parsePolicy returns a function that returns the policy of a text.
func parsePolicy(t *testing.T, text string) func() *caller.Policy {
	t.Helper()
	policy, err := caller.ParsePolicy([]byte(text))
	return func() *caller.Policy { return must(t, policy, err) }
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(policyText))
	f.Add([]byte("callers: []"))
	f.Add([]byte("callers: &a [{subject: a, organizations: ['*']}]\nx: *a"))
	f.Fuzz(func(t *testing.T, text []byte) {
		policy, err := caller.ParsePolicy(text)
		if (policy == nil) == (err == nil) {
			t.Fatalf("got %v and %v", policy, err)
		}
		if policy != nil && policy.Allows(caller.Caller{}, org, false) {
			t.Error("nobody is allowed something")
		}
	})
}
