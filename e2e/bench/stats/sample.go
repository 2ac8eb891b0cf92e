// Package stats reduces measurements to the few numbers that are reported.
package stats

import (
	"math"
	"slices"
	"time"
)

// Sample is a set of measurements of one quantity.
type Sample struct {
	values []time.Duration
}

// Add adds a measurement.
func (s *Sample) Add(d time.Duration) { s.values = append(s.values, d) }

// N returns the number of measurements.
func (s *Sample) N() int { return len(s.values) }

// Quantile returns the smallest measurement that at least a share q of all does not exceed (the nearest rank): 0.5 for the
// median. It never interpolates. Zero when there are no measurements.
func (s *Sample) Quantile(q float64) time.Duration {
	if len(s.values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s.values))
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank-1, 0), len(sorted)-1)]
}

// P50 returns the median in milliseconds.
func (s *Sample) P50() float64 { return Milliseconds(s.Quantile(0.5)) }

// P99 returns the 99th percentile in milliseconds.
func (s *Sample) P99() float64 { return Milliseconds(s.Quantile(0.99)) }

// Milliseconds returns d as a number of milliseconds.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Median returns the median of values; of an even number the lower of the two in the middle.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(values))[(len(values)-1)/2]
}

// PowerLawExponent fits y = c·x^k through the points by least squares on their logarithms and returns k: 0 is flat, 1 grows in
// proportion. All values must be larger than zero, and there must be two different x at least; otherwise it is NaN.
func PowerLawExponent(x, y []float64) float64 {
	var sumX, sumY, sumXX, sumXY float64
	n := float64(len(x))
	for i := range x {
		lx, ly := math.Log(x[i]), math.Log(y[i])
		sumX += lx
		sumY += ly
		sumXX += lx * lx
		sumXY += lx * ly
	}
	return (n*sumXY - sumX*sumY) / (n*sumXX - sumX*sumX)
}
