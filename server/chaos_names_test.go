//go:build chaos

package server_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// domain is the parent of all names in these tests.
const domain = "podero.test"

// dns replaces the DNS servers of the whole process. Queries never leave it.
var dns = func() *nameServer {
	n := &nameServer{addresses: map[string][]netip.Addr{}}
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: n.dial}
	return n
}()

// nameServer is a DNS server in the process that queries it.
type nameServer struct {
	mu        sync.Mutex
	addresses map[string][]netip.Addr // by name, in the order of the response
}

// set gives a name its addresses.
func (n *nameServer) set(name string, addresses ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addresses[name] = nil
	for _, address := range addresses {
		n.addresses[name] = append(n.addresses[name], netip.MustParseAddr(address))
	}
}

func (n *nameServer) dial(context.Context, string, string) (net.Conn, error) {
	return &nameConn{server: n}, nil
}

// respond returns the response to a query for A records, and an empty one to any other.
func (n *nameServer) respond(query []byte) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(query); err != nil || len(message.Questions) != 1 {
		return nil, errors.New("not a query with one question")
	}
	asked := message.Questions[0]
	response := dnsmessage.Message{Header: dnsmessage.Header{ID: message.ID, Response: true, Authoritative: true}, Questions: message.Questions}
	n.mu.Lock()
	defer n.mu.Unlock()
	addresses, known := n.addresses[strings.TrimSuffix(asked.Name.String(), ".")]
	if !known {
		response.RCode = dnsmessage.RCodeNameError
	}
	if asked.Type == dnsmessage.TypeA {
		for _, address := range addresses {
			response.Answers = append(response.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: asked.Name, Type: asked.Type, Class: asked.Class},
				Body:   &dnsmessage.AResource{A: address.As4()},
			})
		}
	}
	return response.Pack()
}

// nameConn is an in-memory connection to a nameServer. It is no net.PacketConn, so messages have a
// length prefix, as over TCP.
type nameConn struct {
	server   *nameServer
	response bytes.Buffer
}

func (c *nameConn) Write(query []byte) (int, error) {
	if len(query) < 2 {
		return 0, io.ErrShortWrite
	}
	response, err := c.server.respond(query[2:])
	if err != nil {
		return 0, err
	}
	c.response.Write([]byte{byte(len(response) >> 8), byte(len(response))})
	c.response.Write(response)
	return len(query), nil
}

func (c *nameConn) Read(p []byte) (int, error) { return c.response.Read(p) }

func (c *nameConn) Close() error                     { return nil }
func (c *nameConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *nameConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *nameConn) SetDeadline(time.Time) error      { return nil }
func (c *nameConn) SetReadDeadline(time.Time) error  { return nil }
func (c *nameConn) SetWriteDeadline(time.Time) error { return nil }
