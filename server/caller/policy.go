package caller

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"example.com/podero-facade/server/podero"
)

// anyName stands in a policy for any name of its kind.
const anyName = "*"

// Policy says which caller may read which organizations. What it does not allow, it denies.
type Policy struct {
	certificates, subjects map[string]grant // by the caller's name, or anyName
}

// grant is what a caller may read.
type grant struct {
	organizations  map[string]bool // UUIDs in lower case, or anyName
	includeDeleted bool
}

// policyFile is the YAML of a policy (contract.md, section 5).
type policyFile struct {
	Callers []*policyEntry `yaml:"callers"` // an entry that is null is nil
}

type policyEntry struct {
	Certificate    string   `yaml:"certificate"`
	Subject        string   `yaml:"subject"`
	Organizations  []string `yaml:"organizations"`
	IncludeDeleted bool     `yaml:"include_deleted"`
}

// ParsePolicy returns the policy that is written in YAML. Its errors name every entry that breaks a rule,
// and what to do about it. A policy without entries is one that denies everything; it must say so with
// its key callers, as a file cut short does not.
func ParsePolicy(content []byte) (*Policy, error) {
	file, err := decodePolicy(content)
	if err != nil {
		return nil, err
	}
	policy := &Policy{certificates: map[string]grant{}, subjects: map[string]grant{}}
	var problems []error
	for i, entry := range file.Callers {
		if err := policy.add(entry); err != nil {
			problems = append(problems, fmt.Errorf("callers[%d] (the first is 0): %w", i, err))
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return policy, nil
}

// decodePolicy decodes YAML strictly: it refuses keys that are unknown or duplicate, and more than one
// document, of which only the first would count.
func decodePolicy(content []byte) (*policyFile, error) {
	var keys struct {
		Callers yaml.Node `yaml:"callers"`
	}
	if err := yaml.Unmarshal(content, &keys); err != nil {
		return nil, err
	}
	if keys.Callers.IsZero() {
		return nil, errors.New("there is no key callers; give it, with [] if nobody may read anything")
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	var file policyFile
	if err := decoder.Decode(&file); err != nil {
		return nil, err
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one YAML document; give one")
	}
	return &file, nil
}

func (p *Policy) add(entry *policyEntry) error {
	if entry == nil {
		return errors.New("it is empty; delete it")
	}
	grants, name := p.certificates, entry.Certificate
	if entry.Subject != "" {
		grants, name = p.subjects, entry.Subject
	}
	if (entry.Certificate == "") == (entry.Subject == "") {
		return errors.New("give either a certificate or a subject")
	}
	if _, ok := grants[name]; ok {
		return fmt.Errorf("there is an entry for %q already; make it one", name)
	}
	if len(entry.Organizations) == 0 {
		return errors.New(`there are no organizations; list their IDs, or ["*"] for all`)
	}
	organizations := map[string]bool{}
	for _, organization := range entry.Organizations {
		id := strings.ToLower(organization)
		if id != anyName && !podero.IsUUID(id) {
			return fmt.Errorf(`the organization %q is neither a UUID like 016b78a7-0c7c-4241-a277-015c3ad3cb90 nor "*"`, organization)
		}
		organizations[id] = true
	}
	grants[name] = grant{organizations, entry.IncludeDeleted}
	return nil
}

// Allows reports whether a caller may read an organization, and its deleted users if includeDeleted. orgID
// is in lower case. What either of a caller's two names is allowed, the caller is allowed.
func (p *Policy) Allows(caller Caller, orgID string, includeDeleted bool) bool {
	return allows(p.certificates, caller.Certificate, orgID, includeDeleted) ||
		allows(p.subjects, caller.Subject, orgID, includeDeleted)
}

func allows(grants map[string]grant, name, orgID string, includeDeleted bool) bool {
	return name != "" &&
		(grants[name].allows(orgID, includeDeleted) || grants[anyName].allows(orgID, includeDeleted))
}

func (g grant) allows(orgID string, includeDeleted bool) bool {
	return (g.includeDeleted || !includeDeleted) && (g.organizations[orgID] || g.organizations[anyName])
}
