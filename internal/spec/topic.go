package spec

import (
	"strings"
	"unicode/utf8"
)

// maxTopicBytes is the longest topic that MQTT can carry (MQTT 5.0, 1.5.4).
const maxTopicBytes = 65535

// CheckTopic refuses what is no MQTT topic name (MQTT 5.0, 4.7): empty, over 65,535 bytes,
// with a wildcard, a NUL or bytes that are not UTF-8.
func CheckTopic(topic string) error {
	if strings.ContainsAny(topic, "+#") {
		return Errorf(Invalid, "cannot publish to topic %q: a wildcard is only allowed in a filter", topic)
	}
	return checkTopicText("topic", topic)
}

// CheckFilter refuses what is no MQTT topic filter (MQTT 5.0, 4.7.1): "+" and "#" stand
// alone in their level, "#" only in the last.
func CheckFilter(filter string) error {
	if err := checkTopicText("filter", filter); err != nil {
		return err
	}
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		switch {
		case level == "#" && i != len(levels)-1:
			return Errorf(Invalid, "cannot use filter %q: \"#\" must be its last level", filter)
		case len(level) > 1 && strings.ContainsAny(level, "+#"):
			return Errorf(Invalid, "cannot use filter %q: a wildcard must be alone in its level", filter)
		}
	}
	return nil
}

func checkTopicText(what, s string) error {
	switch {
	case s == "":
		return Errorf(Invalid, "cannot use an empty %s", what)
	case len(s) > maxTopicBytes:
		return Errorf(Invalid, "cannot use a %s of %d bytes: at most %d", what, len(s), maxTopicBytes)
	case !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0:
		return Errorf(Invalid, "cannot use %s %q: it is not UTF-8 text without NUL", what, s)
	}
	return nil
}

// TopicMatches reports whether filter matches topic (MQTT 5.0, 4.7.1 and 4.7.2: a filter that
// begins with a wildcard does not match a topic that begins with "$"). It does not allocate.
func TopicMatches(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
	}
	for {
		f, fRest, fMore := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, tRest, tMore := strings.Cut(topic, "/")
		if f != "+" && f != t {
			return false
		}
		if !tMore { // "a/#" also matches its parent "a"
			return !fMore || fRest == "#"
		}
		if !fMore {
			return false
		}
		filter, topic = fRest, tRest
	}
}

// FilterCovers reports whether every topic that narrow matches is matched by wide too. It
// decides whether a permission on wide allows a subscription to narrow.
func FilterCovers(wide, narrow string) bool {
	if strings.HasPrefix(narrow, "$") && (strings.HasPrefix(wide, "+") || strings.HasPrefix(wide, "#")) {
		return false
	}
	for {
		w, wRest, wMore := strings.Cut(wide, "/")
		if w == "#" {
			return true
		}
		n, nRest, nMore := strings.Cut(narrow, "/")
		if n == "#" || w != "+" && w != n {
			return false
		}
		if !nMore {
			return !wMore || wRest == "#"
		}
		if !wMore {
			return false
		}
		wide, narrow = wRest, nRest
	}
}

// FiltersOverlap reports whether there is a topic that both filters match.
func FiltersOverlap(a, b string) bool {
	for _, pair := range [][2]string{{a, b}, {b, a}} {
		if strings.HasPrefix(pair[0], "$") && (strings.HasPrefix(pair[1], "+") || strings.HasPrefix(pair[1], "#")) {
			return false
		}
	}
	for {
		x, xRest, xMore := strings.Cut(a, "/")
		y, yRest, yMore := strings.Cut(b, "/")
		switch {
		case x == "#" || y == "#":
			return true
		case x != y && x != "+" && y != "+":
			return false
		case !xMore || !yMore: // "a/#" also matches its parent "a"
			return xMore == yMore || xRest == "#" || yRest == "#"
		}
		a, b = xRest, yRest
	}
}
