package caller

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// maxVerified is the number of certificates whose verification is remembered. Each connection has one.
const maxVerified = 4096

// CertificateVerifier verifies client certificates for each lookup: one that has expired, or whose CA is trusted no
// longer, is refused on connections that are open already, too. Create it with NewCertificateVerifier.
type CertificateVerifier struct {
	roots func() *x509.CertPool

	mu       sync.Mutex
	verified map[*x509.Certificate]verification
}

// verification says how long a certificate is valid, by the CAs that it was verified against.
type verification struct {
	roots *x509.CertPool
	until time.Time
}

// NewCertificateVerifier returns a CertificateVerifier. roots returns the CAs that are trusted now.
func NewCertificateVerifier(roots func() *x509.CertPool) *CertificateVerifier {
	return &CertificateVerifier{roots: roots, verified: map[*x509.Certificate]verification{}}
}

// name returns the name and the serial number of the client certificate of the call's peer, and "" if there is none.
func (v *CertificateVerifier) name(ctx context.Context) (name, serial string, err error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", "", nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return "", "", nil
	}
	if len(info.State.VerifiedChains) == 0 {
		return "", "", errors.New("it was not verified")
	}
	if err := v.verify(&info.State); err != nil {
		return "", "", err
	}
	leaf := info.State.PeerCertificates[0]
	name, err = certificateName(leaf)
	return name, leaf.SerialNumber.Text(16), err
}

// verify verifies the client certificate of a connection by the CAs and the time of now.
func (v *CertificateVerifier) verify(state *tls.ConnectionState) error {
	leaf, roots, now := state.PeerCertificates[0], v.roots(), time.Now()
	v.mu.Lock()
	known, ok := v.verified[leaf]
	v.mu.Unlock()
	if ok && known.roots == roots && now.Before(known.until) {
		return nil
	}
	options := x509.VerifyOptions{
		Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, intermediate := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(intermediate)
	}
	chains, err := leaf.Verify(options)
	if err != nil {
		return fmt.Errorf("it is valid no longer: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.verified) >= maxVerified {
		clear(v.verified)
	}
	v.verified[leaf] = verification{roots, validUntil(chains)}
	return nil
}

// validUntil returns when the last of some chains ends, which is when the first of its certificates expires.
func validUntil(chains [][]*x509.Certificate) (until time.Time) {
	for _, chain := range chains {
		end := chain[0].NotAfter
		for _, certificate := range chain[1:] {
			if certificate.NotAfter.Before(end) {
				end = certificate.NotAfter
			}
		}
		if end.After(until) {
			until = end
		}
	}
	return until
}

// certificateName returns a certificate's URI SAN, of which there may be only one, as in SPIFFE's X.509-SVID,
// section 2. Without one it returns the first DNS SAN: there are often several, all vouched for by the
// CA, and refusing those would refuse most certificates.
func certificateName(certificate *x509.Certificate) (string, error) {
	var name string
	switch {
	case len(certificate.URIs) > 1:
		return "", errors.New("it has more than one URI SAN")
	case len(certificate.URIs) == 1:
		name = uriSAN(certificate)
	case len(certificate.DNSNames) > 0:
		name = certificate.DNSNames[0]
		if strings.ContainsAny(name, ":/") { // or who may have any DNS SAN could have any URI's name
			return "", errors.New("its DNS SAN is not a host name")
		}
	default:
		return "", errors.New("it has neither a URI SAN nor a DNS SAN")
	}
	if !isVisible(name) {
		return "", errors.New("its SAN is not a name")
	}
	return name, nil
}

var subjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// uriSAN returns the first URI SAN byte for byte, and "" if there is none. Of a url.URL only a normal form could be
// had, which other certificates may have, too.
func uriSAN(certificate *x509.Certificate) string {
	const uriTag = 6 // uniformResourceIdentifier (RFC 5280, section 4.2.1.6)
	for _, extension := range certificate.Extensions {
		if !extension.Id.Equal(subjectAltName) {
			continue
		}
		var names []asn1.RawValue
		if _, err := asn1.Unmarshal(extension.Value, &names); err != nil {
			return ""
		}
		for _, name := range names {
			if name.Class == asn1.ClassContextSpecific && name.Tag == uriTag {
				return string(name.Bytes)
			}
		}
	}
	return ""
}
