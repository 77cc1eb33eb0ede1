import static java.util.concurrent.TimeUnit.SECONDS;

import java.util.Arrays;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/** Java's own client against a cluster: prints a line for each thing that worked, and ends with 1 at the first that did not. */
public class Drive {
    static final int DEADLINE_S = 20;

    static ZooKeeper connect(String servers, BlockingQueue<WatchedEvent> events) throws Exception {
        ZooKeeper client = new ZooKeeper(servers, 10_000, events::add);
        WatchedEvent first = events.poll(DEADLINE_S, SECONDS);
        check("connect", first != null && first.getState() == KeeperState.SyncConnected);
        return client;
    }

    static void check(String what, boolean holds) {
        if (!holds) {
            System.out.println("FAILED " + what);
            System.exit(1);
        }
        System.out.println("ok " + what);
    }

    static void event(BlockingQueue<WatchedEvent> events, EventType type, String path) throws Exception {
        WatchedEvent event = events.poll(DEADLINE_S, SECONDS);
        check("event " + type + " " + path, event != null && event.getType() == type && path.equals(event.getPath()));
    }

    public static void main(String[] arguments) throws Exception {
        BlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>(), others = new LinkedBlockingQueue<>();
        ZooKeeper client = connect(arguments[0], events), other = connect(arguments[0], others);

        check("create", client.create("/java", "a".getBytes(), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT).equals("/java"));
        Stat stat = new Stat();
        check("get", Arrays.equals(client.getData("/java", true, stat), "a".getBytes()) && stat.getVersion() == 0);
        other.sync("/", (code, path, context) -> { }, null);
        check("set by another", other.setData("/java", "b".getBytes(), 0).getVersion() == 1);
        event(events, EventType.NodeDataChanged, "/java");
        check("own writes are read", Arrays.equals(client.getData("/java", false, null), "b".getBytes()));
        try {
            client.setData("/java", "c".getBytes(), 0);
            check("an old version is refused", false);
        } catch (KeeperException.BadVersionException expected) {
            check("an old version is refused", true);
        }

        client.addWatch("/java", AddWatchMode.PERSISTENT_RECURSIVE);
        List<OpResult> results = client.multi(Arrays.asList(
            Op.create("/java/m", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
            Op.setData("/java/m", "x".getBytes(), 0),
            Op.check("/java", 1),
            Op.delete("/java/m", 1)));
        check("multi", results.size() == 4);
        event(events, EventType.NodeCreated, "/java/m");
        event(events, EventType.NodeDataChanged, "/java/m");
        event(events, EventType.NodeDeleted, "/java/m");
        try {
            client.multi(Arrays.asList(
                Op.create("/java/n", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT), Op.check("/java", 7)));
            check("a multi that fails changes nothing", false);
        } catch (KeeperException.BadVersionException expected) {
            check("a multi that fails changes nothing", client.exists("/java/n", false) == null);
        }

        String lock = other.create("/java/lock-", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL);
        check("ephemeral and sequential", lock.equals("/java/lock-0000000001"));
        event(events, EventType.NodeCreated, lock);
        check("its owner", client.exists(lock, false).getEphemeralOwner() == other.getSessionId());
        other.close();
        event(events, EventType.NodeDeleted, lock);

        client.addAuthInfo("digest", "me:secret".getBytes());
        client.create("/java/mine", new byte[0], Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        event(events, EventType.NodeCreated, "/java/mine");
        ZooKeeper stranger = connect(arguments[0], others = new LinkedBlockingQueue<>());
        try {
            stranger.getData("/java/mine", false, null);
            check("an ACL keeps strangers out", false);
        } catch (KeeperException.NoAuthException expected) {
            check("an ACL keeps strangers out", true);
        }
        check("all descendants", stranger.getAllChildrenNumber("/java") == 1);
        check("members", new String(client.getConfig(false, null)).contains("participant"));
        stranger.close();
        client.close();
        System.out.println("done");
    }
}
