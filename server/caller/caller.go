// Package caller is who calls, and what they may read (contract.md, section 5).
package caller

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/metadata"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/secret"
)

// A Caller is whom the credentials of a call name. Both names are set if both kinds were given; the zero
// Caller is nobody. The two are names of different kinds: a certificate x is not a subject x.
type Caller struct {
	Certificate string // the URI SAN of a client certificate, else its first DNS SAN
	Subject     string // the sub of a JWT

	// Credential identifies the credentials themselves, such as "serial:1f0a jti:7b0c": the serial number of the
	// certificate, in hexadecimal, and the jti of the JWT, if it has one.
	Credential string
}

// isNobody reports whether no credentials name the caller.
func (c Caller) isNobody() bool { return c.Certificate == "" && c.Subject == "" }

// String returns the caller for the log, such as "certificate:spiffe://corp.example/crm" or
// "subject:crm-sync", the certificate first if there are both, and "" for nobody. A certificate's name has
// no spaces, so that no subject can make itself look like one.
func (c Caller) String() string {
	var names []string
	if c.Certificate != "" {
		names = append(names, "certificate:"+c.Certificate)
	}
	if c.Subject != "" {
		names = append(names, "subject:"+c.Subject)
	}
	return strings.Join(names, " ")
}

// Authenticator finds out who calls. With neither field set it refuses everybody.
type Authenticator struct {
	Certificates *CertificateVerifier // nil if client certificates are no credentials
	Tokens       *TokenVerifier       // nil if bearer tokens are no credentials
}

// Authenticate returns the caller of an RPC, by the verified client certificate of its peer, its bearer
// token, or both. Either kind suffices, but bad credentials are refused even beside good ones. A kind that
// is not configured is ignored: nobody here can judge it, and a caller's proxy may have added it. Its
// errors are *fault.Error: CALLER_UNAUTHENTICATED, or what ended ctx.
func (a *Authenticator) Authenticate(ctx context.Context) (Caller, error) {
	var caller Caller
	var err error
	var serial, jti string
	if a.Certificates != nil {
		if caller.Certificate, serial, err = a.Certificates.name(ctx); err != nil {
			return Caller{}, Rejected(fault.ClientCertificate, fmt.Errorf("client certificate: %w", err))
		}
	}
	if a.Tokens != nil {
		if caller.Subject, jti, err = a.subject(ctx); err != nil {
			return Caller{}, err
		}
	}
	if caller.isNobody() {
		return Caller{}, fault.New(fault.CallerUnauthenticated, errors.New("no credentials of a kind that --caller-auth names"))
	}
	caller.Credential = credential(serial, jti)
	return caller, nil
}

// credential joins what identifies a certificate and a token.
func credential(serial, jti string) string {
	var parts []string
	if serial != "" {
		parts = append(parts, "serial:"+serial)
	}
	if jti != "" {
		parts = append(parts, "jti:"+jti)
	}
	return strings.Join(parts, " ")
}

// subject returns the subject and the jti of the call's bearer token, and "" if it has none.
func (a *Authenticator) subject(ctx context.Context) (subject, jti string, err error) {
	token, err := BearerToken(ctx)
	if err != nil || token.IsZero() {
		return "", "", err
	}
	return a.Tokens.Verify(ctx, token.Reveal())
}

// Rejected returns the error of a call with a credential that was rejected for a reason, which is for the log.
func Rejected(credential fault.Credential, reason error) *fault.Error {
	return &fault.Error{Kind: fault.CallerUnauthenticated, Rejected: credential, Cause: reason}
}

// BearerToken returns the bearer token of a call (RFC 6750, section 2.1), and none if the call has no
// authorization at all. Anything but exactly one bearer token is rejected.
func BearerToken(ctx context.Context) (secret.Text, error) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) == 0 {
		return secret.Text{}, nil
	}
	if len(values) > 1 {
		return secret.Text{}, Rejected(fault.BearerToken, fmt.Errorf("%d authorization values", len(values)))
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimLeft(token, " ")
	switch {
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		return secret.Text{}, Rejected(fault.Authorization, errors.New("the authorization is not a bearer token"))
	case strings.Contains(token, ",") || !isVisible(token):
		return secret.Text{}, Rejected(fault.BearerToken, errors.New("the authorization is not a bearer token, but more or less than one"))
	default:
		return secret.New(token), nil
	}
}

// isVisible reports whether s is one or more visible ASCII characters, without spaces.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}
