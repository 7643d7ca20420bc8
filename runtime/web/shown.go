package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// shownRunes is how much of a value's text is shown.
const shownRunes = 160

// shown is a value as the page shows it.
type shown struct {
	Text  string
	Error string    // why there is no value
	At    time.Time // when it was so; zero: not known
}

// show reads a payload as mappers write it, {"timestamp", "value"}, or shows it as it is.
// The time is the source's own where the payload tells one, else that of its arrival, which
// is not known of a message that was retained.
func (v value) show() shown {
	s := shown{At: v.at}
	if v.retain {
		s.At = time.Time{}
	}
	var payload struct {
		Timestamp *int64           `json:"timestamp"`
		Value     *json.RawMessage `json:"value"`
		Error     string           `json:"error"`
	}
	if v.size > len(v.payload) || json.Unmarshal(v.payload, &payload) != nil || payload.Timestamp == nil || payload.Value == nil && payload.Error == "" {
		s.Text = plainText(v.payload, v.size)
		return s
	}
	s.At, s.Error = time.UnixMilli(*payload.Timestamp), shorten(payload.Error)
	if payload.Error == "" {
		s.Text = jsonText(*payload.Value)
	}
	return s
}

// jsonText shows a string without its quotes, anything else as JSON without white space.
func jsonText(text json.RawMessage) string {
	var s string
	if json.Unmarshal(text, &s) == nil && len(text) > 0 && text[0] == '"' {
		return shorten(s)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return shorten(string(text))
	}
	return shorten(compact.String())
}

// plainText shows a payload of which size bytes there were and the first are known.
func plainText(payload []byte, size int) string {
	cut := payload
	for n := 0; n < utf8.UTFMax && len(cut) > 0 && size > len(payload) && !utf8.Valid(cut); n++ {
		cut = cut[:len(cut)-1] // a character that the cut fell into
	}
	if !utf8.Valid(cut) {
		return fmt.Sprintf("%d bytes, not text", size)
	}
	text := shorten(string(cut))
	if size > len(payload) && !strings.HasSuffix(text, "…") {
		text += "…"
	}
	return text
}

// shorten cuts a text and shows what cannot be seen as a space.
func shorten(text string) string {
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n++; n > shownRunes {
			return b.String() + "…"
		}
		if !unicode.IsGraphic(r) {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}

// age says how long ago something was, in one unit.
func age(now, at time.Time) string {
	if at.IsZero() {
		return ""
	}
	d := now.Sub(at)
	switch {
	case d < -time.Minute:
		return "in the future"
	case d < time.Second:
		return "now"
	case d < 2*time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + " days"
}
