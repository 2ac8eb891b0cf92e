package waitgraph_test

import (
	"fmt"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/utils/ptr"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/costtest"
)

// FuzzNamespace fills a namespace as the input says: of each four bytes the first is the opcode, the next two are its operands,
// and the last is how often it is repeated, each time with the next operands.
func FuzzNamespace(f *testing.F) {
	f.Add([]byte("\x00\x00\x01\xff"))                                                 // a chain of gates
	f.Add([]byte("\x00\x00\x01\x40\x00\x40\x00\x00"))                                 // a cycle of gates
	f.Add([]byte("\x00\x00\x0a\xff\x00\x00\x0b\xff\x00\x00\x0c\xff\x00\x00\x0d\xff")) // many paths
	f.Add([]byte("\x01\x00\x00\x40\x02\x00\x00\x40\x03\x00\x01\x40"))                 // a cycle of leases
	f.Add([]byte("\x04\x00\x09\x00\x05\x00\x00\x09\x06\x09\x00\xff\x03\x09\x00\x00")) // a semaphore
	f.Add([]byte("\x07\x00\xff\x20\x08\x00\x00\xff\x09\x00\x00\xff"))                 // barriers, Jobs and Pods
	f.Add([]byte("\x0a\x00\x01\xff\x0b\x00\x01\xff\x01\x00\x00\xff"))                 // gates on leases and Jobs
	f.Fuzz(func(t *testing.T, program []byte) {
		const most = 64 // bytes, so that there are some 4 000 objects at most
		s := newSnapshotBuilder()
		made := map[string]bool{}
		once := func(kind string, i int, make func(name string)) {
			if name := fmt.Sprintf("%s%d", kind, i); !made[name] {
				made[name] = true
				make(name)
			}
		}
		for i := 0; i+3 < min(len(program), most); i += 4 {
			from, to := int(program[i+1]), int(program[i+2])
			for range 1 + int(program[i+3]) {
				s.addByOpcode(program[i]%12, from, to, once)
				from, to = from+1, to+1
			}
		}
		costtest.CheckLinear(t, s.revision*assumedObjectSize, 2*maxBytesPerNamespaceByte, func() { analyzeAll(t, s) })
	})
}

// addByOpcode adds one object or relation to a namespace.
func (s *snapshotBuilder) addByOpcode(opcode byte, from, to int, once func(kind string, i int, make func(name string))) {
	a, b := fmt.Sprintf("w%d", from), fmt.Sprint(to)
	gateOn := func(kind konductorv1.GateConditionType, name string) {
		once("gate", from, func(gate string) { s.addGate(gate, conditionOn(kind, name)) })
	}
	switch opcode {
	case 0:
		gateOn(konductorv1.GateOnGate, "gate"+b)
	case 1:
		once("lease", from, func(name string) { s.addLease(name) })
	case 2:
		once("holds", to, func(string) { s.addLease("held" + b); s.addHolder(a, "lease/held"+b) })
	case 3:
		s.addWaiter(a, "lease/held"+b)
	case 4:
		once("semaphore", from, func(name string) { s.addSemaphore(name, int32(to)) })
	case 5:
		once("semaphore", to, func(name string) { s.addSemaphore(name, 10) })
		s.addHolder(a, "semaphore/semaphore"+b)
	case 6:
		s.addWaiter(a, "semaphore/semaphore"+b, int32(1+from%7))
	case 7:
		once("barrier", from, func(name string) { s.addBarrier(name, int32(1+to)) })
	case 8:
		once("job", from, func(name string) {
			s.addJob(name, withCommand("koncli barrier arrive barrier"+b), func(j *batchv1.Job) {
				j.Spec.CompletionMode, j.Spec.Completions = ptr.To(batchv1.IndexedCompletion), ptr.To(int32(2147483647))
			})
		})
	case 9:
		once("pod", from, func(name string) {
			s.addPod(name, ownedByJob("job"+b), withCompletionIndex(from), runningContainer("main", "koncli barrier wait barrier"+b))
		})
	case 10:
		gateOn(konductorv1.GateOnLease, "held"+b)
	default:
		gateOn(konductorv1.GateOnJob, "job"+b)
	}
}
