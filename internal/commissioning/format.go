package commissioning

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

// checkFormat checks text against a "format" tag.
func (e *evaluator) checkFormat(format string, n *node, path string) {
	if format == "" || n.kind != text {
		return
	}
	switch format {
	case "topic", "filter", "source", "template":
		if n.secret {
			e.error(n, "secret-shown", "topics are visible to everyone who may read them", fmt.Sprintf("%s must not hold a secret", path))
			return
		}
	}
	if problem, hint := formatProblem(format, n.text); problem != "" {
		e.error(n, "wrong-format", hint, fmt.Sprintf("%s is %q, %s", path, n.shown(), problem))
	}
}

// formatProblem says what keeps s from being of the format, "" if nothing does.
func formatProblem(format, s string) (problem, hint string) {
	switch format {
	case "hostname":
		if !isHost(s) && !strings.HasPrefix(s, "/") {
			return "which is no host name or address", "give the name alone, without scheme, port and path"
		}
	case "topic":
		return refused(spec.CheckTopic(s)), ""
	case "filter":
		return refused(spec.CheckFilter(s)), "wildcards: + for one level, # at the end for all that follow, each alone in its level"
	case "source":
		return sourceProblem(s), "wildcards: + and #, or +name and #name, each alone in its level"
	case "template":
		return templateProblem(s), ""
	case "cron":
		if _, err := ParseCron(s); err != nil {
			return "which is no cron expression: " + err.Error(), cronHint
		}
	case "uri":
		if u, err := url.Parse(s); err != nil || u.Scheme == "" {
			return "which is no URL", "write scheme://host"
		}
	case "base64":
		if _, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), "")); err != nil {
			return "which is not base64", ""
		}
	case "absolute-path":
		if !strings.HasPrefix(s, "/") {
			return "which does not begin with /", ""
		}
	}
	return "", ""
}

func refused(err error) string {
	if err == nil {
		return ""
	}
	if _, reason, ok := strings.Cut(err.Error(), ": "); ok {
		return "which is no topic here: " + reason
	}
	return "which is no topic here"
}

var (
	namedWildcard = regexp.MustCompile(`^([+#])[A-Za-z_][A-Za-z0-9_]*$`)
	topicVariable = regexp.MustCompile(`\{[A-Za-z_][A-Za-z0-9_]*\}|\$[A-Za-z_][A-Za-z0-9_]*`)
)

// plainFilter turns named wildcards into MQTT's: "plant/+line" into "plant/+".
func plainFilter(filter string) string {
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		if m := namedWildcard.FindStringSubmatch(level); m != nil {
			levels[i] = m[1]
		}
	}
	return strings.Join(levels, "/")
}

// sourceProblem checks a filter whose wildcards may have names.
func sourceProblem(s string) string {
	seen := map[string]bool{}
	for level := range strings.SplitSeq(s, "/") {
		if !namedWildcard.MatchString(level) {
			continue
		}
		name := level[1:]
		if seen[name] {
			return fmt.Sprintf("which has two wildcards of the name %q", name)
		}
		seen[name] = true
	}
	return refused(spec.CheckFilter(plainFilter(s)))
}

// templateProblem checks a publish topic: what is left of it with its variables filled in.
func templateProblem(s string) string {
	return refused(spec.CheckTopic(topicVariable.ReplaceAllString(s, "x")))
}
