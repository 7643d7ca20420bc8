package spec

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	instanceName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,39}$`)
	agentName    = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,39}$`)
	dnsName      = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)
	imageName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]*(@sha256:[0-9a-f]{64})?$`)
	imageTag     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	memoryText   = regexp.MustCompile(`^([0-9]+)([bkmg]?)b?$`)
	timezoneName = regexp.MustCompile(`^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$`)
	deviceText   = regexp.MustCompile(`^/[^:,\s]+(:/[^:,\s]+)?(:[rwm]{1,3})?$`)
)

// DefaultInstance names the instance where nobody does.
const DefaultInstance = "millwright"

// CheckInstanceName refuses what compose cannot use as a project's name.
func CheckInstanceName(name string) error {
	if !instanceName.MatchString(name) {
		return Errorf(Invalid, "cannot name an instance %q: begin with a small letter or digit, then small letters, digits, \"_\", \"-\"; 40 at most", name)
	}
	return nil
}

func (i Instance) checkIdentity() error {
	if i.Name != "" {
		if err := CheckInstanceName(i.Name); err != nil {
			return err
		}
	}
	switch i.State {
	case "", Started, Stopped, Restarted, Absent:
	default:
		return Errorf(Invalid, "cannot bring instance %q to state %q: it is started, stopped, restarted or absent", i.Name, i.State)
	}
	if i.WaitTimeout < 0 || i.WaitTimeout > 24*3600 {
		return Errorf(Invalid, "cannot wait %d s: wait_timeout is from 1 to 86400", i.WaitTimeout)
	}
	return nil
}

func (i Instance) checkImage() error {
	if i.Image != "" && !imageName.MatchString(i.Image) {
		return Errorf(Invalid, "cannot use image %q: it is [REGISTRY/]NAME[:TAG]", i.Image)
	}
	if i.Version != "" && !imageTag.MatchString(i.Version) {
		return Errorf(Invalid, "cannot use version %q: it is a tag such as 0.1.0", i.Version)
	}
	if tag := tagOf(i.Image); tag != "" && i.Version != "" && tag != i.Version {
		return Errorf(Invalid, "cannot use image %q and version %q together: they name different tags", i.Image, i.Version).
			WithHint("leave the tag out of image, or version")
	}
	switch i.Pull {
	case "", PullMissing, PullAlways, PullNever:
	default:
		return Errorf(Invalid, "cannot pull %q: pull is missing, always or never", i.Pull)
	}
	if r := i.Registry; r != nil && (r.Username == "") != (r.Password == "") {
		return Errorf(Invalid, "cannot log in to registry %q: give both username and password", r.Server)
	}
	return nil
}

func (i Instance) checkNetwork() error {
	if i.Hostname != "" && !isHost(i.Hostname) {
		return Errorf(Invalid, "cannot use hostname %q: it is a DNS name or an address", i.Hostname)
	}
	if i.NetworkMask != "" {
		mask, err := netip.ParsePrefix(i.NetworkMask)
		if err != nil || mask != mask.Masked() || !mask.Addr().Is4() || mask.Bits() > 28 || !mask.Addr().IsGlobalUnicast() {
			return Errorf(Invalid, "cannot use network_mask %q: it is a network such as 172.30.0.0/24, of 16 addresses or more", i.NetworkMask)
		}
	}
	for name, address := range i.ExtraHosts {
		if !dnsName.MatchString(name) {
			return Errorf(Invalid, "cannot use extra_hosts %q: it is a DNS name", name)
		}
		if _, err := netip.ParseAddr(address); err != nil && address != "host-gateway" {
			return Errorf(Invalid, "cannot use extra_hosts.%s %q: it is an address, or host-gateway", name, address)
		}
	}
	for _, server := range i.DNS {
		if _, err := netip.ParseAddr(server); err != nil {
			return Errorf(Invalid, "cannot use dns %q: it is a name server's address", server)
		}
	}
	return nil
}

func isHost(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || dnsName.MatchString(s) && len(s) <= 253
}

func (i Instance) checkSecrets() error {
	if p := i.AdminPassword; p != nil && len([]rune(*p)) < MinPasswordLength {
		return Errorf(Invalid, "cannot set admin_password: it has fewer than %d characters", MinPasswordLength)
	}
	if (i.Certificate == "") != (i.PrivateKey == nil) {
		return Errorf(Invalid, "cannot use certificate or private_key alone: give both")
	}
	if i.Certificate != "" {
		if _, err := tls.X509KeyPair([]byte(i.Certificate), []byte(*i.PrivateKey)); err != nil {
			return Errorf(Invalid, "cannot use certificate and private_key: they are no PEM pair (%s)", err)
		}
	}
	if i.TrustedCA != "" && !isCertificates(i.TrustedCA) {
		return Errorf(Invalid, "cannot use trusted_ca: it is no PEM certificate")
	}
	return nil
}

func isCertificates(text string) bool {
	rest, n := []byte(text), 0
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return n > 0
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return false
		}
		n++
	}
}

func (i Instance) checkAgents() error {
	if i.AllowContainers {
		return Errorf(Invalid, "cannot use allow_containers: this version runs no containers of services").
			WithHint("leave allow_containers out; false is the default")
	}
	reserved := []string{PartControl, PartBroker, PartMapper, DefaultAgent, "secrets", "backup"}
	seen := map[string]bool{}
	for _, a := range i.Agents {
		switch {
		case !agentName.MatchString(a):
			return Errorf(Invalid, "cannot name an agent %q: begin with a small letter or digit, then small letters, digits, \"_\", \"-\"; 40 at most", a)
		case slices.Contains(reserved, a):
			return Errorf(Invalid, "cannot name an agent %q: that name is taken", a)
		case seen[a]:
			return Errorf(Invalid, "cannot name two agents %q", a)
		}
		seen[a] = true
	}
	return nil
}

func (i Instance) checkEnvironment() error {
	for name, value := range i.Env {
		if !variableName.MatchString(name) || strings.HasPrefix(name, "MILLWRIGHT_") {
			return Errorf(Invalid, "cannot set env.%s: it is letters, digits and \"_\", and MILLWRIGHT_ is reserved", name)
		}
		if strings.ContainsAny(value, "\x00\n\r") {
			return Errorf(Invalid, "cannot set env.%s: its value is one line", name)
		}
	}
	if p := i.Proxy; p != nil {
		for _, address := range []string{p.HTTP, p.HTTPS} {
			if err := checkProxy(address); err != nil {
				return err
			}
		}
		if strings.ContainsAny(p.NoProxy, "\x00\n\r") {
			return Errorf(Invalid, "cannot set proxy.no_proxy: it is one line")
		}
	}
	for _, d := range i.Devices {
		if !deviceText.MatchString(d) {
			return Errorf(Invalid, "cannot use device %q: it is HOST[:CONTAINER[:rwm]], such as /dev/ttyS0", d)
		}
	}
	if i.Timezone != "" && !timezoneName.MatchString(i.Timezone) {
		return Errorf(Invalid, "cannot use timezone %q: it is a name such as Europe/Berlin", i.Timezone)
	}
	return nil
}

// checkProxy refuses a password too: it would show in `docker inspect`.
func checkProxy(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return Errorf(Invalid, "cannot use proxy %q: it is http://HOST:PORT", address)
	}
	if u.User != nil {
		return Errorf(Invalid, "cannot use the proxy %q with a user name: it would show in docker inspect", u.Redacted()).
			WithHint("let the proxy admit the host by its address")
	}
	return nil
}

func (i Instance) checkLimits() error {
	for _, part := range slices.Sorted(maps.Keys(i.Limits)) {
		l := i.Limits[part]
		if l.Memory != "" {
			bytes, err := ParseMemory(l.Memory)
			if err != nil {
				return Errorf(Invalid, "limits.%s: %w", part, err)
			}
			if bytes < minMemory {
				return Errorf(Invalid, "cannot limit %s to %s of memory: 32m is the least", part, l.Memory)
			}
		}
		if l.CPUs < 0 || l.CPUs > 1024 || l.CPUs > 0 && l.CPUs < 0.01 {
			return Errorf(Invalid, "cannot limit %s to %v cpus: it is from 0.01 to 1024", part, l.CPUs)
		}
	}
	return nil
}

const minMemory = 32 << 20

// ParseMemory reads "256m", "1g", "1048576" as bytes; units count in 1024.
func ParseMemory(text string) (int64, error) {
	m := memoryText.FindStringSubmatch(strings.ToLower(text))
	if m == nil {
		return 0, Errorf(Invalid, "cannot use memory %q: it is a number of bytes, or one with k, m or g", text)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	shift := map[string]uint{"k": 10, "m": 20, "g": 30}[m[2]]
	if err != nil || n > 1<<50>>shift {
		return 0, Errorf(Invalid, "cannot use memory %q: it is too large", text)
	}
	return n << shift, nil
}

// formatMemory writes bytes in the largest unit that divides them.
func formatMemory(bytes int64) string {
	for _, u := range []struct {
		shift uint
		name  string
	}{{30, "g"}, {20, "m"}, {10, "k"}} {
		if bytes>>u.shift > 0 && bytes&(1<<u.shift-1) == 0 {
			return strconv.FormatInt(bytes>>u.shift, 10) + u.name
		}
	}
	return strconv.FormatInt(bytes, 10)
}

// tagOf is the tag or digest that an image's name ends in; empty: neither.
func tagOf(image string) string {
	if name, digest, ok := strings.Cut(image, "@"); ok && name != "" {
		return digest
	}
	if _, tag, ok := strings.Cut(path.Base(image), ":"); ok {
		return tag
	}
	return ""
}
