package opcua

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// CommissioningFile writes a commissioning file of the service id for what was found: one
// Connection, and one subscribe Endpoint for each readable variable. The password becomes a
// parameter; it is in no file.
func (b Browsed) CommissioningFile(id string) string {
	var out strings.Builder
	host, port, path := b.address()
	fmt.Fprintf(&out, "description: %s\n", quote("Variables of the OPC UA server "+b.URL+" below "+b.Root))
	fmt.Fprintf(&out, "metadata:\n  name: %s\n", quote(id))
	if b.Username != "" {
		out.WriteString("\nparameters:\n  password:\n    type: string\n    format: password\n    title: " +
			quote("Password of "+b.Username+" at the OPC UA server") + "\n")
	}
	out.WriteString("\nresources:\n  server:\n    type: Millwright::Connection\n    properties:\n      protocol: Opcua\n      connection:\n")
	fmt.Fprintf(&out, "        host: %s\n        port: %d\n", quote(host), port)
	if path != "" {
		fmt.Fprintf(&out, "        resourcePath: %s\n", quote(path))
	}
	if b.Username != "" {
		fmt.Fprintf(&out, "        username: %s\n        password: !ref password\n", quote(b.Username))
	}
	if b.SecurityMode != "None" {
		fmt.Fprintf(&out, "        securityMode: %s\n        securityPolicy: %s\n", b.SecurityMode, b.SecurityPolicy)
		out.WriteString("        # Without caCert the server is refused with its fingerprint: compare that, then give its certificate.\n")
	}
	names := newNames("server", "password")
	topics := newNames()
	for _, n := range b.Nodes {
		if n.Class == "Variable" && n.Readable {
			writeEndpoint(&out, n, names.take(resourceID(n.Path), "_"), topics.take(topicOf(n.Path), "_"))
		}
	}
	return out.String()
}

// DefaultID is a service id that no other server and no other root gives, such as
// opcua_10.0.0.7_4840 and opcua_10.0.0.7_4840_press_1f0c77 for what is below a root. It is
// also a name that this id is made from.
func (b Browsed) DefaultID() string {
	host, port, path := b.address()
	plain := idPart(host, 60)
	id := fmt.Sprintf("opcua_%s_%d", plain, port)
	if b.Root == objects && path == "" && plain == strings.ToLower(host) {
		return id
	}
	if name := idPart(b.RootName, 40); name != "" && b.Root != objects {
		id += "_" + name
	}
	// Names are not unique, and not all of an address fits into an id: a part of the whole's digest does.
	digest := sha256.Sum256([]byte(strings.ToLower(host) + "/" + path + " " + b.Root))
	return id + "_" + hex.EncodeToString(digest[:3])
}

// idPart is what an id can hold of a name, cut at length.
func idPart(name string, length int) string {
	part := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' {
			return r
		}
		return '_'
	}, strings.ToLower(name))
	return part[:min(len(part), length)]
}

func writeEndpoint(out *strings.Builder, n Node, id, topic string) {
	note := n.DataType + n.marks()
	fmt.Fprintf(out, "\n  # %s\n", strings.Map(printable, note))
	fmt.Fprintf(out, "  %s:\n    type: Millwright::Endpoint\n    properties:\n      protocol: Opcua\n      connection: !ref server\n", quote(id))
	fmt.Fprintf(out, "      topic: %s\n      subscribe:\n        nodeId: %s\n", quote(topic), quote(n.NodeID))
}

func (b Browsed) address() (host string, port int, path string) {
	at, err := parseTarget(b.URL)
	if err != nil { // it came from a target
		return b.URL, 4840, ""
	}
	if unescaped, err := url.PathUnescape(strings.TrimPrefix(at.path, "/")); err == nil {
		return at.host, at.port, unescaped
	}
	return at.host, at.port, at.path
}

// quote writes a string that YAML reads back exactly: JSON strings are YAML's double-quoted ones.
func quote(s string) string {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil {
		return strconv.Quote(s)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return '?'
}

// names keeps ids apart.
type names map[string]bool

func newNames(taken ...string) names {
	n := names{}
	for _, t := range taken {
		n[t] = true
	}
	return n
}

func (n names) take(name, separator string) string {
	unique := name
	for i := 2; n[unique]; i++ {
		unique = name + separator + strconv.Itoa(i)
	}
	n[unique] = true
	return unique
}

// resourceID keeps letters, digits and underscores of a path's names, joined by dots.
func resourceID(path []string) string {
	parts := make([]string, len(path))
	for i, name := range path {
		parts[i] = strings.Map(func(r rune) rune {
			if r < 128 && (unicode.IsLetter(r) || unicode.IsDigit(r)) || r == '_' {
				return r
			}
			return '_'
		}, name)
	}
	id := strings.Join(parts, ".")
	if !strings.ContainsFunc(id[:min(1, len(id))], func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
		id = "n" + id
	}
	return id
}

// topicOf keeps what a topic may hold.
func topicOf(path []string) string {
	parts := make([]string, len(path))
	for i, name := range path {
		parts[i] = strings.Map(func(r rune) rune {
			if strings.ContainsRune("/+#${}", r) || !unicode.IsPrint(r) {
				return '_'
			}
			return r
		}, name)
		if parts[i] == "" {
			parts[i] = "_"
		}
	}
	return strings.Join(parts, "/")
}
