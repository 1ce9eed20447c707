// The known data sets. Checksums: those of the publishers and of torchvision, Keras and TensorFlow Datasets, which
// check their downloads with them.
#include "hpm/data/catalogue.h"
#include "hpm/data/cifar.h"
#include "hpm/data/idx.h"
#include "hpm/data/svhn.h"

namespace hpm {
namespace {

const std::vector<std::string> kDigits{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};

const std::vector<std::string> kCifar100{
    "apple",      "aquarium_fish", "baby",         "bear",       "beaver",      "bed",         "bee",
    "beetle",     "bicycle",       "bottle",       "bowl",       "boy",         "bridge",      "bus",
    "butterfly",  "camel",         "can",          "castle",     "caterpillar", "cattle",      "chair",
    "chimpanzee", "clock",         "cloud",        "cockroach",  "couch",       "crab",        "crocodile",
    "cup",        "dinosaur",      "dolphin",      "elephant",   "flatfish",    "forest",      "fox",
    "girl",       "hamster",       "house",        "kangaroo",   "keyboard",    "lamp",        "lawn_mower",
    "leopard",    "lion",          "lizard",       "lobster",    "man",         "maple_tree",  "motorcycle",
    "mountain",   "mouse",         "mushroom",     "oak_tree",   "orange",      "orchid",      "otter",
    "palm_tree",  "pear",          "pickup_truck", "pine_tree",  "plain",       "plate",       "poppy",
    "porcupine",  "possum",        "rabbit",       "raccoon",    "ray",         "road",        "rocket",
    "rose",       "sea",           "seal",         "shark",      "shrew",       "skunk",       "skyscraper",
    "snail",      "snake",         "spider",       "squirrel",   "streetcar",   "sunflower",   "sweet_pepper",
    "table",      "tank",          "telephone",    "television", "tiger",       "tractor",     "train",
    "trout",      "tulip",         "turtle",       "wardrobe",   "whale",       "willow_tree", "wolf",
    "woman",      "worm"};

std::vector<LabelledBytes> read_idx_pair(const Sources& files, int64_t classes) {
  std::vector<LabelledBytes> out;
  out.push_back(read_idx(*files.at(0), *files.at(1), classes));
  return out;
}
template <uint64_t label_bytes>
std::vector<LabelledBytes> read_cifar_records(const Sources& files, int64_t classes) {
  std::vector<LabelledBytes> out;
  for (const auto& file : files) out.push_back(read_cifar_binary(*file, label_bytes, classes));
  return out;
}
std::vector<LabelledBytes> read_cifar_pickles(const Sources& files, int64_t classes) {
  std::vector<LabelledBytes> out;
  for (const auto& file : files) out.push_back(read_cifar_pickle(*file, classes));
  return out;
}
std::vector<LabelledBytes> read_svhn_file(const Sources& files, int64_t classes) {
  std::vector<LabelledBytes> out;
  out.push_back(read_svhn(files.at(0)->name(), classes));
  return out;
}

DatasetFormat fashion_mnist() {
  return {"fashion-mnist",
          "apt-get install dataset-fashion-mnist",
          {{{"fashion-mnist", "FashionMNIST/raw"},
            {},
            {{"train-images-idx3-ubyte.gz", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"},
             {"train-labels-idx1-ubyte.gz", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"}},
            {{"t10k-images-idx3-ubyte.gz", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"},
             {"t10k-labels-idx1-ubyte.gz", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"}},
            read_idx_pair}},
          {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"}};
}

DatasetFormat mnist() {
  return {"mnist",
          "the four files of https://ossci-datasets.s3.amazonaws.com/mnist (train-images-idx3-ubyte.gz and so on) in "
          "<root>/mnist",
          {{{"mnist", "MNIST/raw"},
            {},
            {{"train-images-idx3-ubyte.gz", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"},
             {"train-labels-idx1-ubyte.gz", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"}},
            {{"t10k-images-idx3-ubyte.gz", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"},
             {"t10k-labels-idx1-ubyte.gz", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"}},
            read_idx_pair}},
          kDigits};
}

DatasetFormat cifar10() {
  return {"cifar10",
          "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz (or cifar-10-python.tar.gz) in <root>, as it is or "
          "unpacked",
          {{{"cifar-10-batches-bin"},
            {"cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
            {{"data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"},
             {"data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"},
             {"data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"},
             {"data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"},
             {"data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"}},
            {{"test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"}},
            read_cifar_records<1>},
           {{"cifar-10-batches-py"},
            {"cifar-10-python.tar.gz", "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"},
            {{"data_batch_1", "c99cafc152244af753f735de768cd75f"},
             {"data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"},
             {"data_batch_3", "54ebc095f3ab1f0389bbae665268c751"},
             {"data_batch_4", "634d18415352ddfa80567beed471001a"},
             {"data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"}},
            {{"test_batch", "40351d587109b95175f43aff81a1287e"}},
            read_cifar_pickles}},
          {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}};
}

DatasetFormat cifar100() {
  return {
      "cifar100",
      "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz (or cifar-100-python.tar.gz) in <root>, as it is or "
      "unpacked",
      {{{"cifar-100-binary"},
        {"cifar-100-binary.tar.gz", "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"},
        {{"train.bin", "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"}},
        {{"test.bin", "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"}},
        read_cifar_records<2>},
       {{"cifar-100-python"},
        {"cifar-100-python.tar.gz", "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"},
        {{"train", "16019d7e3df5f24257cddd939b257f8d"}},
        {{"test", "f0ef6b0ae62326f3e7ffdfab6717acfc"}},
        read_cifar_pickles}},
      kCifar100};
}

DatasetFormat svhn() {
  return {"svhn",
          "http://ufldl.stanford.edu/housenumbers/train_32x32.mat and test_32x32.mat in <root>/svhn",
          {{{"svhn", "SVHN", "."},
            {},
            {{"train_32x32.mat", "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"}},
            {{"test_32x32.mat", "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"}},
            read_svhn_file}},
          kDigits};
}

}  // namespace

const std::vector<DatasetFormat>& dataset_formats() {
  static const std::vector<DatasetFormat> table{fashion_mnist(), mnist(), cifar10(), cifar100(), svhn()};
  return table;
}

}  // namespace hpm
