// TransformsTests
