package server_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"example.com/podero-facade/server"
	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
	"example.com/podero-facade/server/secret"
	"example.com/podero-facade/server/telemetry"
)

// alerts returns the expressions of deploy/prometheus/alerts.yaml by alert.
func alerts(t *testing.T) map[string]string {
	t.Helper()
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	readDeploy(t, "prometheus/alerts.yaml", yaml.Unmarshal, &rules)
	expressions := map[string]string{}
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			expressions[rule.Alert] = rule.Expr
		}
	}
	return expressions
}

// panels returns the expressions of deploy/grafana/podero-facade.json by panel.
func panels(t *testing.T) map[string]string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	readDeploy(t, "grafana/podero-facade.json", json.Unmarshal, &dashboard)
	expressions := map[string]string{}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			expressions[panel.Title] += target.Expr + "\n"
		}
	}
	return expressions
}

func readDeploy(t *testing.T, name string, decode func([]byte, any) error, into any) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "deploy", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	if err := decode(content, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func TestAlertsAndPanelsAskForWhatThereIs(t *testing.T) {
	i := newIssuer(t)
	s := start(t, newUpstream(t, replyJSON(200, document(member{"tariff", `1`})), nil), func(c *server.Config) {
		withJWT(i)(c)
		c.AuditLog = filepath.Join(t.TempDir(), "audit.log")
		c.ClientSecret, c.ClientSecretFile = secret.Text{}, secretFile(t)
		c.CacheTTL = time.Minute
	})
	lookupGRPC(t.Context(), t, s, theUser(), bearer(i.sign(t, i.keys["one"], nil, nil)))
	_, metrics := s.admin(t, "/metrics")
	_, secured := start(t, newUpstream(t, good, nil), withTLS(t, newAuthority(t))).admin(t, "/metrics")
	series := names(`(?m)^([a-z_]+)[{ ]`, metrics+secured)
	known := map[string][]string{"reason": append(fault.Reasons(), telemetry.ReasonOK), "result": podero.AttemptResults}
	for _, expressions := range []map[string]string{alerts(t), panels(t)} {
		if len(expressions) < 10 {
			t.Fatalf("there are %d: %v", len(expressions), expressions)
		}
		for name, expression := range expressions {
			asked := names(`\b((?:podero_facade|rpc|http|go|process)_[a-z_]+)\b`, expression)
			for metric := range asked {
				if !series[metric] {
					t.Errorf("%s asks for %s, which is not served", name, metric)
				}
			}
			if len(asked) == 0 {
				t.Errorf("%s asks for nothing", name)
			}
			for _, match := range regexp.MustCompile(`\b(reason|result)=~?"([^"]*)"`).FindAllStringSubmatch(expression, -1) {
				for value := range strings.SplitSeq(match[2], "|") {
					if !slices.Contains(known[match[1]], value) {
						t.Errorf("%s asks for the %s %s, which there is not", name, match[1], value)
					}
				}
			}
		}
	}
}

func TestEveryAlertIsInTheRunbookAndTested(t *testing.T) {
	operations, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := names(`(?m)^### (PoderoFacade\w+)$`, string(operations))
	var tests struct {
		Tests []struct {
			Cases []struct {
				Name   string `yaml:"alertname"`
				Alerts []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	readDeploy(t, "prometheus/alerts_test.yaml", yaml.Unmarshal, &tests)
	fires, keepsQuiet := map[string]bool{}, map[string]bool{}
	for _, test := range tests.Tests {
		for _, c := range test.Cases {
			if len(c.Alerts) > 0 {
				fires[c.Name] = true
			} else {
				keepsQuiet[c.Name] = true
			}
		}
	}
	alerts := alerts(t)
	for name := range alerts {
		if !documented[name] {
			t.Errorf("%s has no entry in docs/operations.md", name)
		}
		if !fires[name] || !keepsQuiet[name] {
			t.Errorf("alerts_test.yaml does not show when %s fires and when not", name)
		}
	}
	for name := range documented {
		if _, ok := alerts[name]; !ok {
			t.Errorf("docs/operations.md has an entry for %s, which is no alert", name)
		}
	}
}
