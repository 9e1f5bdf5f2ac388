package http1

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"golang.org/x/net/proxy"
)

// usesAbsoluteForm reports whether requests go to an HTTP proxy without a tunnel, with the absolute
// URL in the request line (RFC 9112, section 3.2.2).
func (t *Transport) usesAbsoluteForm() bool {
	return t.proxy != nil && t.tls == nil && !isSOCKS(t.proxy)
}

// isProxy reports whether a proxy URL is supported. nil stands for no proxy.
func isProxy(proxy *url.URL) bool {
	return proxy == nil || proxy.Scheme == "http" || proxy.Scheme == "https" || isSOCKS(proxy)
}

func isSOCKS(proxy *url.URL) bool { return proxy.Scheme == "socks5" || proxy.Scheme == "socks5h" }

// tunnel turns a connection to the proxy into one to the server.
func (t *Transport) tunnel(ctx context.Context, conn net.Conn) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(aLongTimeAgo) })
	defer stop()
	if isSOCKS(t.proxy) {
		return conn, t.connectSOCKS(ctx, conn)
	}
	if t.proxy.Scheme == "https" {
		config := t.config.TLS.Clone()
		config.ServerName, config.NextProtos = t.proxy.Hostname(), []string{"http/1.1"}
		secured := tls.Client(conn, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = secured
	}
	if t.usesAbsoluteForm() {
		return conn, nil
	}
	return conn, t.connect(conn)
}

// connect asks an HTTP proxy for a tunnel (RFC 9110, section 9.3.6).
func (t *Transport) connect(conn net.Conn) error {
	request := "CONNECT " + t.address + " HTTP/1.1\r\nHost: " + t.address + "\r\n" +
		proxyAuthorization(t.proxy) + "\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	reader := bufio.NewReader(io.LimitReader(conn, t.config.MaxHeaderBytes))
	response, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect}) //nolint:bodyclose // a response to CONNECT has none
	switch {
	case err != nil:
		return err
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("http1: the proxy responded to CONNECT with status %d", response.StatusCode)
	case reader.Buffered() > 0:
		return errUnsolicited
	default:
		return nil
	}
}

// connectSOCKS asks a SOCKS proxy for a tunnel (RFC 1928).
func (t *Transport) connectSOCKS(ctx context.Context, conn net.Conn) error {
	var credentials *proxy.Auth
	if user := t.proxy.User; user != nil {
		password, _ := user.Password()
		credentials = &proxy.Auth{User: user.Username(), Password: password}
	}
	dialer, err := proxy.SOCKS5("tcp", address(t.proxy), credentials, nil)
	if err != nil {
		return err
	}
	over, ok := dialer.(interface {
		DialWithConn(ctx context.Context, conn net.Conn, network, address string) (net.Addr, error)
	})
	if !ok {
		return errors.New("http1: SOCKS proxies are not supported")
	}
	_, err = over.DialWithConn(ctx, conn, "tcp", t.address)
	return err
}

// proxyAuthorization returns the header with a proxy's credentials, and "" if its URL has none.
func proxyAuthorization(proxy *url.URL) string {
	if proxy.User == nil {
		return ""
	}
	password, _ := proxy.User.Password()
	credentials := base64.StdEncoding.EncodeToString([]byte(proxy.User.Username() + ":" + password))
	return "Proxy-Authorization: Basic " + credentials + "\r\n"
}
