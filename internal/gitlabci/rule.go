package gitlabci

import (
	"fmt"
	"regexp"
	"strings"
)

// decide returns the first rule that holds; ok is false if none does, or if it says never. No
// rules at all is a job that is always there.
func decide(rules []Rule, variables map[string]string) (rule Rule, ok bool, err error) {
	if len(rules) == 0 {
		return Rule{}, true, nil
	}
	for _, r := range rules {
		holds := true
		if r.If != "" {
			if holds, err = condition(r.If, variables); err != nil {
				return Rule{}, false, err
			}
		}
		if holds {
			return r, r.When != "never", nil
		}
	}
	return Rule{}, false, nil
}

var comparison = regexp.MustCompile(`^\$(\w+)\s*(?:(==|!=)\s*(?:\$(\w+)|"([^"]*)"))?$`)

// condition evaluates $A, $A == "b", $A != $B, and several of them joined by &&.
func condition(text string, variables map[string]string) (bool, error) {
	for _, part := range strings.Split(text, "&&") {
		m := comparison.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil {
			return false, fmt.Errorf("cannot evaluate the rule %q", text)
		}
		left, right := variables[m[1]], m[4]
		if m[3] != "" {
			right = variables[m[3]]
		}
		var holds bool
		switch m[2] {
		case "==":
			holds = left == right
		case "!=":
			holds = left != right
		default:
			holds = left != ""
		}
		if !holds {
			return false, nil
		}
	}
	return true, nil
}

var reference = regexp.MustCompile(`\$(\w+)|\$\{(\w+)\}`)

// expand replaces variables, as GitLab does before a job begins: what is not there is nothing.
func expand(text string, variables map[string]string) string {
	for range 10 { // a variable may hold others
		next := reference.ReplaceAllStringFunc(text, func(found string) string {
			return variables[strings.Trim(found, "${}")]
		})
		if next == text {
			break
		}
		text = next
	}
	return text
}
