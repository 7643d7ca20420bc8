package commissioning

import (
	"testing"
	"time"
)

// FuzzCron holds that no expression panics, and that one that is taken has a time.
func FuzzCron(f *testing.F) {
	for _, s := range []string{
		"*/5 * * * *", "0 */15 * * * *", "0 0 29 2 *", "0 0 31 2 *", "99 * * * *", "@hourly", "@every 90s",
		"TZ=Europe/Berlin 0 6 * * MON-FRI", "TZ=Europe/Berlin", "CRON_TZ=\t* * * * *", "", "*/0 * * * *", "5-1 * * * *",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		times, err := ParseCron(s)
		if err != nil {
			return
		}
		if from := time.Date(2026, time.November, 22, 0, 0, 0, 0, time.UTC); !times.Next(from).After(from) {
			t.Errorf("%q has no time", s)
		}
	})
}
