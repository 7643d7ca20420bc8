package commissioning

import (
	"errors"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// CronTimes gives the times of a cron expression.
type CronTimes interface {
	// Next is the first time behind after; zero if none comes within five years.
	Next(after time.Time) time.Time
}

const cronHint = "minute hour day month weekday, or six fields with seconds first: 0 */15 * * * *"

// ParseCron reads a cron expression: five fields, six with seconds first, or a descriptor
// such as @hourly. One that never comes is refused (the 31st of February).
func ParseCron(expression string) (CronTimes, error) {
	if zone, _, found := strings.Cut(strings.TrimSpace(expression), " "); !found && strings.Contains(zone, "TZ=") {
		return nil, errors.New("it holds a time zone and no fields") // the library panics on it
	}
	parser := cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	times, err := parser.Parse(expression)
	if err != nil {
		return nil, err
	}
	// Any year will do: the library looks five years ahead, so that a leap year is among them.
	if times.Next(time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, errors.New("it names a time that never comes")
	}
	return times, nil
}
