// Command etcd loads an etcd server through etcd's own Go client, and prints one JSON object.
//
// Modes get and put: each of -clients clients has its own gRPC connection and one request in flight, on random keys.
//
// Mode watch: -watchers watchers of one key share -streams clients, each with a connection and, as the client does by
// itself, one gRPC stream for all its watchers; one more client keeps -inflight puts under way.  A put is under way
// until it is acknowledged; with -wait, until every watcher has it, too.
//
// Build: GO111MODULE=off GOFLAGS= GOPATH=/usr/share/gocode go build etcd.go (with Debian's golang-etcd-server-dev)
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/etcd/clientv3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

var (
	endpoint     = flag.String("endpoint", "127.0.0.1:2379", "address of the server")
	mode         = flag.String("mode", "get", "get, put or watch")
	clients      = flag.Int("clients", 50, "get, put: clients, each with a connection of its own")
	keys         = flag.Int("keys", 10000, "get, put: keys; get writes them all before it begins")
	size         = flag.Int("size", 32, "bytes of a value; watch: at least 19")
	seconds      = flag.Float64("seconds", 3, "seconds that are measured")
	warmup       = flag.Float64("warmup", 1, "seconds before them")
	serializable = flag.Bool("serializable", false, "get: reads that need not be linearizable")
	watchers     = flag.Int("watchers", 100, "watch: watchers")
	inflight     = flag.Int("inflight", 16, "watch: puts under way, at most 1000")
	streams      = flag.Int("streams", 10, "watch: clients that the watchers share")
	pid          = flag.Int("pid", 0, "a process whose processor time is taken over the measured time")
	wait         = flag.Bool("wait", false, "watch: a put is under way until every watcher has it")
)

const (
	fillBatch = 128                    // operations in a transaction: as many as etcd allows by default
	commit    = 200 * time.Millisecond // twice the time after which etcd commits by itself
	stamp     = 19                     // bytes at the start of a watched value: its writer and when it was sent
	patience  = 30                     // seconds beyond those asked for, to connect and to fill: nothing may hang for ever
)

// The phases of a run: only what ends in the second one is counted.
const (
	warming int32 = iota
	measuring
	over
)

var (
	phase  atomic.Int32
	puts   atomic.Int64
	errors atomic.Int64
	began  = time.Now()
	group  sync.WaitGroup // all goroutines that hold samples
)

// samples are the latencies in microseconds that one goroutine saw.
type samples struct{ us []uint32 }

var all []*samples

func newSamples() *samples {
	s := &samples{}
	all = append(all, s)
	return s
}

// add keeps the time since sent, if it is the time to measure.
func (s *samples) add(sent time.Duration) {
	if phase.Load() == measuring {
		s.us = append(s.us, uint32((time.Since(began)-sent)/time.Microsecond))
	}
}

func main() {
	flag.Parse()
	limit := time.Duration((*warmup + *seconds + patience) * float64(time.Second))
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	time.AfterFunc(limit, func() { log.Fatal("the server does not answer") })
	switch *mode {
	case "get", "put":
		request(ctx)
	case "watch":
		if *size < stamp || *inflight > 1000 {
			log.Fatalf("watch: -size at least %d, -inflight at most 1000", stamp)
		}
		watch(ctx)
	default:
		log.Fatalf("unknown mode %q", *mode)
	}
	measure(cancel)
}

func connect() *clientv3.Client {
	quiet := zap.NewProductionConfig() // it warns of every request that the end of the run cancels
	quiet.Level.SetLevel(zap.ErrorLevel)
	client, err := clientv3.New(clientv3.Config{
		LogConfig:   &quiet,
		Endpoints:   []string{*endpoint},
		DialTimeout: 5 * time.Second,
		DialOptions: []grpc.DialOption{grpc.WithBlock()},
	})
	if err != nil {
		log.Fatal(err)
	}
	return client
}

// repeat calls once again and again until the run is over.
func repeat(once func() error) {
	group.Add(1)
	go func() {
		defer group.Done()
		for phase.Load() != over {
			if err := once(); err != nil {
				failed(err)
				time.Sleep(10 * time.Millisecond) // a server that refuses is not to be hammered
			}
		}
	}()
}

// failed counts an error, unless the end of the run made it, and prints the first.
func failed(err error) {
	if phase.Load() != over && errors.Add(1) == 1 {
		log.Print(err)
	}
}

// request starts the clients of the modes get and put.
func request(ctx context.Context) {
	value := strings.Repeat("v", *size)
	var options []clientv3.OpOption
	if *serializable {
		options = append(options, clientv3.WithSerializable())
	}
	if *mode == "get" {
		fill(ctx, value)
	}
	for i := 0; i < *clients; i++ {
		client, seen, random := connect(), newSamples(), rand.New(rand.NewSource(int64(i)))
		repeat(func() (err error) {
			key, sent := keyName(random.Intn(*keys)), time.Since(began)
			if *mode == "put" {
				_, err = client.Put(ctx, key, value)
			} else if reply, failure := client.Get(ctx, key, options...); failure != nil {
				err = failure
			} else if len(reply.Kvs) != 1 {
				err = fmt.Errorf("%s is missing", key)
			}
			if err == nil {
				seen.add(sent)
			}
			return err
		})
	}
}

func keyName(i int) string { return fmt.Sprintf("key:%08d", i) }

// fill writes every key, and leaves the server as if it had done so long ago.
//
// etcd 3.4 copies the buffer of recent writes for each read, at the largest length it ever had.  It drops the buffer at
// a commit without a new write to a key; a lease makes it commit.  Without this the reads took five times as long.
func fill(ctx context.Context, value string) {
	client := connect()
	defer client.Close()
	for from := 0; from < *keys; from += fillBatch {
		var batch []clientv3.Op
		for i := from; i < *keys && i < from+fillBatch; i++ {
			batch = append(batch, clientv3.OpPut(keyName(i), value))
		}
		if _, err := client.Txn(ctx).Then(batch...).Commit(); err != nil {
			log.Fatal(err)
		}
	}
	time.Sleep(commit)
	if _, err := client.Grant(ctx, 600); err != nil {
		log.Fatal(err)
	}
	time.Sleep(commit)
}

// watch starts the watchers, each when the server knows the one before it, and then the writers.
func watch(ctx context.Context) {
	missing := make([]atomic.Int64, *inflight) // by writer: the watchers that do not have its put yet
	delivered := make([]chan struct{}, *inflight)
	for i := range delivered {
		delivered[i] = make(chan struct{}, 1)
	}
	readers := make([]*clientv3.Client, *streams)
	for i := range readers {
		readers[i] = connect()
	}
	for i := 0; i < *watchers; i++ {
		changes, seen := readers[i%*streams].Watch(ctx, keyName(0), clientv3.WithCreatedNotify()), newSamples()
		if first := <-changes; !first.Created {
			log.Fatal("no watch: ", first.Err())
		}
		group.Add(1)
		go func() {
			defer group.Done()
			for reply := range changes {
				if err := reply.Err(); err != nil {
					failed(err)
				}
				for _, event := range reply.Events {
					writer, sent := number(event.Kv.Value[:3]), number(event.Kv.Value[4:stamp])
					seen.add(time.Duration(sent))
					if missing[writer].Add(-1) == 0 && *wait {
						delivered[writer] <- struct{}{}
					}
				}
			}
		}()
	}
	client := connect()
	for i := 0; i < *inflight; i++ {
		writer := i
		repeat(func() error {
			missing[writer].Store(int64(*watchers))
			value := fmt.Sprintf("%03d %015d", writer, int64(time.Since(began)))
			_, err := client.Put(ctx, keyName(0), value+strings.Repeat("v", *size-len(value)))
			if err == nil && phase.Load() == measuring {
				puts.Add(1)
			}
			if err == nil && *wait {
				select {
				case <-delivered[writer]:
				case <-ctx.Done():
				}
			}
			return err
		})
	}
}

func number(digits []byte) int {
	n, err := strconv.Atoi(string(digits))
	if err != nil {
		log.Fatal(err)
	}
	return n
}

// measure lets the load run and end, and prints what was seen.  stop cancels what is under way.
func measure(stop func()) {
	time.Sleep(time.Duration(*warmup * float64(time.Second)))
	phase.Store(measuring)
	from, cpu, server := time.Now(), cpuSeconds(), cpuSecondsOf(*pid)
	time.Sleep(time.Duration(*seconds * float64(time.Second)))
	phase.Store(over)
	cpu, server, took := cpuSeconds()-cpu, cpuSecondsOf(*pid)-server, time.Since(from).Seconds()
	stop()
	group.Wait()

	var us []uint32
	for _, s := range all {
		us = append(us, s.us...)
	}
	sort.Slice(us, func(i, j int) bool { return us[i] < us[j] })
	result := map[string]any{
		"operations": len(us), "seconds": took, "cpu_seconds": cpu, "server_cpu_seconds": server, "errors": errors.Load(),
	}
	if len(us) > 0 {
		result["p50_us"], result["p99_us"] = us[len(us)/2], us[len(us)*99/100]
	}
	if *mode == "watch" {
		result["puts"] = puts.Load() // and operations are deliveries
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		log.Fatal(err)
	}
}

// cpuSeconds is what this process has used, user and system.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

// cpuSecondsOf is what another process has used: fields 14 and 15 of its stat, behind a name that may hold anything.
func cpuSecondsOf(pid int) float64 {
	if pid == 0 {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		log.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const ticks = 100 // a second, on every Linux that Go runs on
	return float64(number([]byte(fields[11]))+number([]byte(fields[12]))) / ticks
}
