package apiclient

import (
	"net/http"
	"testing"
	"time"
)

func TestServerClock(t *testing.T) {
	local := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for name, test := range map[string]struct {
		dates []time.Duration // the server's time of each response, from the local time
		want  time.Duration
	}{
		"no response":                          {nil, 0},
		"the same time":                        {[]time.Duration{0}, 0},
		"a difference that may be rounding":    {[]time.Duration{time.Second}, 0},
		"an hour ahead":                        {[]time.Duration{time.Hour}, time.Hour + time.Second/2},
		"an hour behind":                       {[]time.Duration{-time.Hour}, -time.Hour + time.Second/2},
		"small changes leave the skew as is":   {[]time.Duration{time.Hour, time.Hour + time.Second, time.Hour - time.Second}, time.Hour + time.Second/2},
		"the clocks have been set right":       {[]time.Duration{time.Hour, 0}, 0},
		"a large change is taken over at once": {[]time.Duration{time.Hour, 2 * time.Hour}, 2*time.Hour + time.Second/2},
	} {
		t.Run(name, func(t *testing.T) {
			var c ServerClock
			for _, d := range test.dates {
				c.observe(local.Add(d).Format(http.TimeFormat), local)
			}
			c.observe("no date", local)
			if c.Skew() != test.want {
				t.Errorf("the skew is %s, want %s", c.Skew(), test.want)
			}
		})
	}
}

func TestServerClockOfResponses(t *testing.T) {
	var c ServerClock
	server := RoundTripperFunc(func(*http.Request) (*http.Response, error) {
		return &http.Response{Header: http.Header{"Date": {time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}}}, nil
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WrapTransport(server).RoundTrip(req); err != nil {
		t.Fatal(err)
	}
	if ahead := time.Until(c.Now()); ahead < 59*time.Minute || ahead > 61*time.Minute {
		t.Errorf("the clock is %s ahead, want about 1h", ahead)
	}
}
