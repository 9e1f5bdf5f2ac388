package check

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"time"

	"example.com/podero-facade/server/caller"
)

// file is a file of the configuration.
type file struct {
	name, flag, path string
	look             func(f file, content []byte)
}

// checkFiles looks into the files that are configured. Those that the configuration's rules found wrong
// are told of already.
func (r *runner) checkFiles() {
	config := r.config
	for _, f := range []file{
		{"certificate", "tls-cert-file", config.TLSCertFile, r.checkCertificate},
		{"client CAs", "tls-client-ca-file", config.TLSClientCAFile, r.checkCAs},
		{"caller policy", "caller-policy-file", config.CallerPolicyFile, r.checkPolicy},
		{"client secret", "client-secret-file", config.ClientSecretFile, r.checkSecret},
		{"upstream CAs", "upstream-ca-file", config.UpstreamCAFile, r.checkCAs},
		{"issuer CAs", "jwt-ca-file", config.JWTCAFile, r.checkCAs},
	} {
		if f.path == "" {
			continue
		}
		if because := r.refusal(f.flag); because != "" {
			r.skip(because, f.name)
			continue
		}
		content, err := os.ReadFile(f.path)
		if err != nil {
			r.fail(f.name, err.Error(), "name a readable file with --"+f.flag)
			continue
		}
		f.look(f, content)
	}
}

func (r *runner) checkCertificate(f file, content []byte) {
	if because := r.refusal("tls-key-file"); because != "" {
		r.skip(because, f.name)
		return
	}
	key, err := os.ReadFile(r.config.TLSKeyFile)
	if err != nil {
		r.fail(f.name, err.Error(), "name a readable file with --tls-key-file")
		return
	}
	pair, err := tls.X509KeyPair(content, key)
	if err != nil {
		r.fail(f.name, err.Error(), "give PEM files that belong together")
		return
	}
	switch leaf := pair.Leaf; {
	case time.Now().After(leaf.NotAfter):
		r.fail(f.name, fmt.Sprintf("%s expired on %s", f.path, leaf.NotAfter.Format(time.DateOnly)), "renew --"+f.flag)
	case time.Now().Before(leaf.NotBefore):
		r.fail(f.name, fmt.Sprintf("%s is not valid before %s", f.path, leaf.NotBefore.Format(time.RFC3339)),
			"check this machine's clock, and --"+f.flag)
	default:
		r.pass(f.name, "%s fits its key and is valid for %s", f.path, days(leaf))
	}
}

func (r *runner) checkCAs(f file, content []byte) {
	valid, expired := countCertificates(content)
	switch {
	case valid == 0 && expired == 0:
		r.fail(f.name, f.path+" has no certificate in it", "give a PEM file with certificates")
	case valid == 0:
		r.fail(f.name, fmt.Sprintf("every certificate in %s has expired (%d)", f.path, expired), "renew --"+f.flag)
	default:
		r.pass(f.name, "%s has %d valid and %d expired", f.path, valid, expired)
	}
}

// countCertificates returns how many certificates in a PEM file are valid, and how many are past that.
func countCertificates(content []byte) (valid, expired int) {
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil: // a key, or what the TLS library leaves out, too
		case time.Now().After(certificate.NotAfter):
			expired++
		default:
			valid++
		}
	}
	return valid, expired
}

func (r *runner) checkPolicy(f file, content []byte) {
	policy, err := caller.ParsePolicy(content)
	if err != nil {
		r.fail(f.name, err.Error(), "fix --"+f.flag)
		return
	}
	r.pass(f.name, "%s has entries: %d", f.path, policy.Entries())
}

// checkSecret has nothing to add: that the file could be read is all that may be told of it.
func (r *runner) checkSecret(f file, _ []byte) { r.pass(f.name, "%s is readable", f.path) }

// days returns how long a certificate is still valid.
func days(certificate *x509.Certificate) string {
	left := int(time.Until(certificate.NotAfter).Hours() / 24)
	return fmt.Sprintf("%d days, until %s", left, certificate.NotAfter.Format(time.DateOnly))
}
