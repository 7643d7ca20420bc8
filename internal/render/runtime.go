package render

import (
	"maps"
	"net/netip"
	"path"
	"slices"
	"strconv"

	"github.com/millwright/millwright/internal/spec"
)

// command is the runtime's command line for a part. Health is asked for on its default
// listener, which is loopback. What speaks in plain is reached within the deployment's network
// alone, unless the instance publishes it.
func command(i spec.Instance, part string) []string {
	args := []string{"--data=" + DataDir}
	switch part {
	case spec.PartControl:
		args = append(args, "--parts=control", "--listen-https="+listen(targetHTTPS),
			"--admin-password-file="+secret(SecretAdminPassword), "--join-tokens="+secret(secretJoin),
			"--broker="+broker(targetMQTTS), "--mqtt-address="+broker(targetMQTT))
		args = append(args, redirect(i)...)
		args = append(args, certificate(i)...)
	case spec.PartBroker:
		args = append(args, "--parts=broker",
			"--listen-mqtts="+listen(targetMQTTS), "--listen-mqtt="+listen(targetMQTT), "--insecure-listen")
		args = append(args, certificate(i)...)
		args = append(args, join(part)...)
	default:
		args = append(args, "--parts=mapper", "--agent="+joinName(part), "--broker="+broker(targetMQTTS))
		args = append(args, join(part)...)
	}
	if i.ReadOnly != nil && *i.ReadOnly {
		args = append(args, "--read-only")
	}
	return args
}

func broker(port int) string { return spec.PartBroker + ":" + strconv.Itoa(port) }

func listen(port int) string { return ":" + strconv.Itoa(port) }

func secret(name string) string { return path.Join(SecretsDir, name) }

func join(part string) []string {
	return []string{
		"--control-url=https://control:" + strconv.Itoa(targetHTTPS),
		"--join-token-file=" + secret(JoinToken(part)),
	}
}

// redirect is where control listens in plain, and the port that it leads to.
func redirect(i spec.Instance) []string {
	_, public, err := i.Ports[spec.PortHTTPS].Split()
	if err != nil || !redirects(i) {
		return nil
	}
	return []string{"--listen-http-redirect=" + listen(targetHTTP), "--public-https-port=" + strconv.Itoa(int(public))}
}

// certificate names the given certificate, else the further names of the one that is made: the
// host's, and the addresses of the host that are listened on.
func certificate(i spec.Instance) []string {
	var args []string
	names := []string{i.Hostname}
	for _, port := range []string{spec.PortHTTPS, spec.PortMQTTS} {
		address, _, err := i.Ports[port].Split()
		ip, noAddress := netip.ParseAddr(address)
		if err == nil && noAddress == nil && !ip.IsUnspecified() && !ip.IsLoopback() {
			names = append(names, address)
		}
	}
	for n, name := range names {
		if name != "" && !slices.Contains(names[:n], name) {
			args = append(args, "--hostname="+name)
		}
	}
	if i.Certificate != "" {
		args = append(args, "--tls-certificate="+secret(SecretCertificate), "--tls-key="+secret(SecretPrivateKey))
	}
	return args
}

// environment is what the user sets, the time zone, the proxy and the authorities to trust.
func environment(i spec.Instance) map[string]string {
	e := map[string]string{"TZ": i.Timezone}
	if i.TrustedCA != "" {
		e["SSL_CERT_DIR"] = "/etc/ssl/certs:" + path.Dir(secret(SecretTrustedCA))
	}
	if p := i.Proxy; p != nil {
		set := func(name, value string) {
			if value != "" {
				e[name] = value
			}
		}
		set("HTTP_PROXY", p.HTTP)
		set("HTTPS_PROXY", p.HTTPS)
		e["NO_PROXY"] = "localhost,control,broker"
		if p.NoProxy != "" {
			e["NO_PROXY"] += "," + p.NoProxy
		}
	}
	maps.Copy(e, i.Env)
	return e
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
