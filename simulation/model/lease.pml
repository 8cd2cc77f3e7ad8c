/*
 * Lease, claim, commit and read of one actor on two nodes over one linearizable store.
 *
 * Time is not modelled: `lease[i]` says whether node i's own clock says that its lease is valid, and it may expire at
 * any step. The bound on the rate of clocks is one guard: an observer may evict a node only when its lease has
 * expired. A restarted node, unknown outcomes, deduplication, migration and liveness are left to the simulation.
 *
 *   spin -a -DHBMAX=3 -DEPMAX=4 -DVMAX=4 lease.pml && cc -O2 -DBFS -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan -E
 *
 * Each of these breaks a rule, and Spin must find a counterexample:
 *   -DNOFENCE      a commit does not compare the header
 *   -DREADNOLEASE  a read from memory does not look at the lease
 *   -DNOWAIT       an observer does not wait until the lease has expired
 */
#ifndef HBMAX
#define HBMAX 3
#endif
#ifndef EPMAX
#define EPMAX 4
#endif
#ifndef VMAX
#define VMAX 4
#endif
#define NOBODY 2
#define OTHER (1 - me)

/* The store. */
byte owner = NOBODY;
byte epoch = 0;
byte ver = 0;
bool dead[2];
byte beat[2];

/* What each node knows. */
bool lease[2];
bool holds[2];
byte myEpoch[2];
byte myVer[2];

/* Ghost: acknowledged increments. */
byte committed = 0;

proctype Node(byte me) {
  byte seenEpoch, seenBeat, value;
  bool mayClaim;
  do
  /* Renew: compare-and-set on the own member row. */
  :: atomic { !dead[me] && !lease[me] && beat[me] < HBMAX -> beat[me]++; lease[me] = true }

  /* The lease runs out: a slow node, a pause, a partition. */
  :: atomic { lease[me] -> lease[me] = false }

  /* Claim: read the header, then compare-and-set on its epoch. */
  :: atomic { lease[me] && !holds[me] && epoch < EPMAX ->
       seenEpoch = epoch;
       mayClaim = (owner == NOBODY || owner == me || (owner == OTHER && dead[OTHER])) };
     if
     :: atomic { mayClaim && epoch == seenEpoch ->
          owner = me; epoch++; myEpoch[me] = epoch; myVer[me] = ver; holds[me] = true }
     :: atomic { !mayClaim || epoch != seenEpoch -> skip }
     fi

  /* Commit an increment. The lease is not looked at. */
  :: atomic { holds[me] && ver < VMAX ->
       if
#ifdef NOFENCE
       :: true ->
#else
       :: epoch == myEpoch[me] && ver == myVer[me] ->
#endif
          ver = myVer[me] + 1; myVer[me]++;
          assert(ver == committed + 1);
          assert(owner == me);
          committed++
#ifndef NOFENCE
       :: else -> holds[me] = false
#endif
       fi }

  /* Read: take the value from memory, then look at the lease; the reply counts from there. */
  :: atomic { holds[me] -> value = myVer[me] };
     atomic {
       if
#ifdef READNOLEASE
       :: true -> assert(value == committed)
#else
       :: lease[me] && holds[me] && value == myVer[me] -> assert(value == committed)
       :: else -> skip
#endif
       fi }

  /* Observe the other's row; later, if it is unchanged and its lease cannot be valid any more, declare it dead. */
  :: atomic { !dead[OTHER] && !dead[me] -> seenBeat = beat[OTHER] };
     atomic {
       if
#ifdef NOWAIT
       :: beat[OTHER] == seenBeat && !dead[OTHER] -> dead[OTHER] = true
#else
       :: !lease[OTHER] && beat[OTHER] == seenBeat && !dead[OTHER] -> dead[OTHER] = true
#endif
       :: else -> skip
       fi }

  /* A node that learns that it is dead drops what it has. */
  :: atomic { dead[me] && holds[me] && !lease[me] -> holds[me] = false }

  :: atomic { epoch == EPMAX && ver == VMAX -> break }
  od
}

init {
  atomic { run Node(0); run Node(1) }
}
