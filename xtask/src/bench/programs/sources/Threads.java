import java.util.stream.IntStream;

public class Threads {
    static int count;

    public static void main(String[] arguments) throws Exception {
        System.out.println("hello");
        Thread[] threads = new Thread[50];
        for (int i = 0; i < threads.length; i++) {
            threads[i] = new Thread(() -> {
                for (int k = 0; k < 10_000; k++) {
                    synchronized (Threads.class) {
                        count++;
                    }
                }
            });
            threads[i].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        System.out.println(count);
        System.out.println(IntStream.range(0, 1_000_000).parallel().mapToLong(i -> i % 7).sum());
        byte[][] garbage = new byte[64][];
        for (int i = 0; i < 20_000; i++) {
            garbage[i % 64] = new byte[100_000];
        }
        System.gc();
        System.out.println(garbage[63].length);
    }
}
