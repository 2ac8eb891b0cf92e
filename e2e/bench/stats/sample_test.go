package stats

import (
	"math"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	var s Sample
	for i := 100; i >= 1; i-- {
		s.Add(time.Duration(i) * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{
		0: time.Millisecond, 0.5: 50 * time.Millisecond, 0.99: 99 * time.Millisecond, 1: 100 * time.Millisecond,
	} {
		if got := s.Quantile(q); got != want {
			t.Errorf("quantile %v: got %v, want %v", q, got, want)
		}
	}
	if got := new(Sample).P50(); got != 0 {
		t.Errorf("an empty sample has a median of %v", got)
	}
}

func TestMedianOfEvenCount(t *testing.T) {
	if got := Median([]float64{4, 1, 3, 2}); got != 2 {
		t.Errorf("got %v", got)
	}
}

func TestPowerLawExponent(t *testing.T) {
	x := []float64{10, 100, 1000, 10000}
	for name, law := range map[string]struct {
		f    func(float64) float64
		want float64
	}{
		"flat":           {func(float64) float64 { return 7 }, 0},
		"in proportion":  {func(x float64) float64 { return 0.5 * x }, 1},
		"as the square":  {func(x float64) float64 { return 3 * x * x }, 2},
		"as square root": {math.Sqrt, 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			y := make([]float64, len(x))
			for i := range x {
				y[i] = law.f(x[i])
			}
			if got := PowerLawExponent(x, y); math.Abs(got-law.want) > 1e-9 {
				t.Errorf("got %v, want %v", got, law.want)
			}
		})
	}
	if !math.IsNaN(PowerLawExponent([]float64{1}, []float64{1})) {
		t.Error("one point has an exponent")
	}
}
