package spec

import (
	"encoding/json"
	"strings"
	"testing"
)

func decoded(t *testing.T, text string) (Instance, error) {
	t.Helper()
	var options map[string]any
	if err := json.Unmarshal([]byte(text), &options); err != nil {
		t.Fatal(err)
	}
	return DecodeInstance(options)
}

// Each wrong option is refused by its name.
func TestInstanceRefuses(t *testing.T) {
	for options, want := range map[string]string{
		`{"name": "Plant A"}`:                                 "Plant A",
		`{"nickname": "a"}`:                                   `"nickname"`,
		`{"state": "gone"}`:                                   "started, stopped, restarted or absent",
		`{"ports": {"https": 70000}}`:                         "ports.https",
		`{"ports": {"https": "1.2.3:443"}}`:                   "1.2.3:443",
		`{"ports": {"https": "::1:443"}}`:                     "::1:443",
		`{"ports": {"ftp": 21}}`:                              `"ftp"`,
		`{"ports": {"https": 443, "mqtts": "1.2.3.4:443"}}`:   "443",
		`{"ports": {"https": true}}`:                          "",
		`{"image": "a b"}`:                                    "a b",
		`{"image": "x:1", "version": "2"}`:                    "different tags",
		`{"pull": "often"}`:                                   "often",
		`{"registry": {"username": "u"}}`:                     "both",
		`{"hostname": "a_b"}`:                                 "a_b",
		`{"network_mask": "10.0.0.1/24"}`:                     "network_mask",
		`{"network_mask": "10.0.0.0/29"}`:                     "16 addresses",
		`{"network_mask": "127.0.0.0/8"}`:                     "network_mask",
		`{"network_mask": "0.0.0.0/0"}`:                       "network_mask",
		`{"admin_password": "1234"}`:                          "5 characters",
		`{"certificate": "x"}`:                                "both",
		`{"certificate": "x", "private_key": "y"}`:            "PEM",
		`{"trusted_ca": "x"}`:                                 "PEM",
		`{"allow_containers": true}`:                          "runs no containers of services",
		`{"agents": ["a", "a"]}`:                              `two agents "a"`,
		`{"agents": ["broker"]}`:                              "taken",
		`{"agents": ["A"]}`:                                   `"A"`,
		`{"env": {"A-B": "1"}}`:                               "A-B",
		`{"env": {"MILLWRIGHT_URL": "1"}}`:                    "reserved",
		`{"env": {"A": "x\ny"}}`:                              "one line",
		`{"env": {"A": 1}}`:                                   `"env"`,
		`{"proxy": {"http": "proxy:3128"}}`:                   "http://HOST:PORT",
		`{"proxy": {"http": "http://u:s3cret@proxy:3128"}}`:   "docker inspect",
		`{"devices": ["ttyS0"]}`:                              "ttyS0",
		`{"extra_hosts": {"plc": "plc.example"}}`:             "plc.example",
		`{"dns": ["dns.example"]}`:                            "dns.example",
		`{"timezone": "../../etc/passwd"}`:                    "timezone",
		`{"limits": {"broker": {"memory": "1m"}}}`:            "32m",
		`{"limits": {"broker": {"memory": "much"}}}`:          "much",
		`{"limits": {"broker": {"memory": "999999999999g"}}}`: "large",
		`{"limits": {"broker": {"cpus": -1}}}`:                "cpus",
		`{"wait_timeout": -1}`:                                "wait_timeout",
	} {
		_, err := decoded(t, options)
		if KindOf(err) != Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", options, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the error shows the password: %v", options, err)
		}
	}
}

// What is not given is taken from what was applied, else it is the default; what is given in
// another spelling is no change.
func TestInstanceOver(t *testing.T) {
	defaults := InstanceDefaults{Version: "1.0.0", InstallPath: "/opt/m", Timezone: "Europe/Berlin"}
	settle := func(last *Instance, options string) Instance {
		t.Helper()
		given, err := decoded(t, options)
		if err != nil {
			t.Fatal(err)
		}
		i, err := given.Over(last, defaults)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	digest := func(i Instance) string {
		t.Helper()
		d, err := i.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := settle(nil, `{"ports": {"https": "0.0.0.0:8443"}, "agents": ["b", "a"], "limits": {"broker": {"memory": "1024m"}},
		"admin_password": "secret", "license": "secret", "registry": {"server": "r.example", "username": "u", "password": "secret"}}`)
	if first.Ports[PortHTTPS] != "8443" || first.Ports[PortMQTTS] != "8883" || first.Limits["broker"].Memory != "1g" || first.Timezone != "Europe/Berlin" {
		t.Errorf("got %+v", first)
	}
	if got := first.ImageReference(); got != "r.example/millwright/millwright:1.0.0" {
		t.Errorf("got image %s", got)
	}
	text, err := json.Marshal(first.Applied())
	if err != nil || strings.Contains(string(text), "secret") {
		t.Errorf("what is kept holds a secret: %s", text)
	}
	applied, err := ParseApplied(string(text))
	if err != nil {
		t.Fatal(err)
	}
	defaults.Version, defaults.Timezone = "2.0.0", "UTC"
	for _, same := range []string{
		`{}`, `{"agents": ["a", "b"]}`, `{"ports": {"https": 8443}}`, `{"limits": {"broker": {"memory": "1048576k"}}}`, `{"version": "1.0.0"}`,
	} {
		if again := settle(applied, same); digest(again) != digest(first) {
			t.Errorf("%s changes %+v into %+v", same, first, again)
		}
	}
	if again := settle(applied, `{}`); again.AdminPassword != nil || again.License != nil {
		t.Error("a secret is remembered")
	}
	changed := settle(applied, `{"ports": {"mqtt": 1883, "https": null}, "agents": [], "image": "other/image:3.1"}`)
	if changed.Ports[PortHTTPS] != "" || changed.Ports[PortMQTT] != "1883" || len(changed.Agents) != 0 || changed.ImageReference() != "r.example/other/image:3.1" {
		t.Errorf("got %+v", changed)
	}
	tagged := changed.Applied()
	if up := settle(&tagged, `{"version": "3.2"}`); up.ImageReference() != "r.example/other/image:3.2" {
		t.Errorf("got %s", up.ImageReference())
	}
	if _, err := (Instance{Limits: map[string]Limit{"north": {CPUs: 1}}}).Over(nil, defaults); KindOf(err) != Invalid {
		t.Errorf("a limit for no part: %v", err)
	}
	if _, err := (Instance{Ports: Ports{PortMQTT: "8883"}}).Over(nil, defaults); KindOf(err) != Invalid {
		t.Errorf("a port that meets a default one: %v", err)
	}
}

func FuzzPort(f *testing.F) {
	f.Add("443")
	f.Add("[::1]:443")
	f.Add("127.0.0.1:08443")
	f.Fuzz(func(t *testing.T, text string) {
		p := Port(text)
		address, number, err := p.Split()
		if err != nil {
			return
		}
		again, n, err := p.canonical().Split()
		if err != nil || n != number || again != address && address != "0.0.0.0" {
			t.Errorf("%q is %q %d, and its canonical form %q is %q %d, %v", text, address, number, p.canonical(), again, n, err)
		}
	})
}
