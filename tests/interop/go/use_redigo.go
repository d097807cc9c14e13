// redigo, by its pool of connections.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/gomodule/redigo/redis"
)

var turn int
var pools []*redis.Pool

func do(command string, arguments ...interface{}) (interface{}, error) {
	turn++
	connection := pools[turn%len(pools)].Get()
	defer connection.Close()
	return connection.Do(command, arguments...)
}

func same(got interface{}, err error, wanted interface{}, what string) {
	if err != nil || fmt.Sprint(got) != fmt.Sprint(wanted) {
		panic(fmt.Sprintf("%s: %.200v, %v and not %.200v", what, got, err, wanted))
	}
}

func transaction() {
	connection := pools[0].Get()
	defer connection.Close()
	connection.Send("MULTI")
	connection.Send("SET", "p", 1)
	connection.Send("INCR", "p")
	got, err := redis.Values(connection.Do("EXEC"))
	same(got, err, []interface{}{"OK", 2}, "a transaction")
}

func main() {
	for _, node := range os.Args[1:] {
		address := node
		pools = append(pools, &redis.Pool{MaxIdle: 3, Dial: func() (redis.Conn, error) { return redis.Dial("tcp", address, redis.DialDatabase(0)) }})
	}
	reply, err := do("SET", "a", "1", "EX", 600)
	same(reply, err, "OK", "set")
	text, err := redis.String(do("GET", "a"))
	same(text, err, "1", "get at the next node")
	if _, err = redis.String(do("GET", "none")); err != redis.ErrNil {
		panic("get of what is not there")
	}
	number, err := redis.Int(do("INCRBY", "n", 5))
	same(number, err, 5, "incrby")
	reply, err = do("MSET", "m:1", 1, "m:2", 2)
	same(reply, err, "OK", "mset")
	numbers, err := redis.Ints(do("MGET", "m:1", "m:2"))
	same(numbers, err, []int{1, 2}, "mget")
	transaction()
	release := redis.NewScript(1, `if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end`)
	_, err = do("SET", "lock", "mine", "NX", "PX", 10000)
	connection := pools[1].Get()
	number, err = redis.Int(release.Do(connection, "lock", "yours"))
	same(number, err, 0, "another's lock")
	number, err = redis.Int(release.Do(connection, "lock", "mine"))
	same(number, err, 1, "a lock")
	reply, err = do("PSETEX", "t", 300, "x")
	same(reply, err, "OK", "psetex")
	for end := time.Now().Add(8 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err = redis.String(do("GET", "t")); err == redis.ErrNil {
			break
		}
		same(time.Now().Before(end), nil, true, "an expiry")
	}
	reply, err = do("FLUSHDB")
	same(reply, err, "OK", "flushdb")
	number, err = redis.Int(do("DBSIZE"))
	same(number, err, 0, "after flushdb")
}
